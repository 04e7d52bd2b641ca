"""SDE-Drag: the loop against Alg. 1 written plainly, batches of unequal images, edges, limits."""

import contextlib
import dataclasses
import math

import numpy as np
import pytest
import torch

from sde_edit.api.example import Drag, Example
from sde_edit.datasets.shapes_edits import ShapesEdits
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid
from sde_edit.editing.moves import MovePlan
from sde_edit.errors import UserError
from sde_edit.models.gmm import GMM, Component
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.registry import build
from tests.builders import build_task

IDS = ("test-000000", "test-000001", "test-000002")
INVERTIBLE = (
    "ode",
    "ode2",
    "sde",
    "sde2",
    "sde_textbook",
    "ef",
    "bdia",
    "obelm",
    "cbdia",
    "edict",
    "rex",
)
EXACT = INVERTIBLE[2:]
SHAPE = (3, 8, 8)
WORLD = GMM(SHAPE, (Component("red", (0.7, -0.5, -0.5), 0.3), Component("blue", -0.6, 0.4)))
GRID = WORLD.schedule().grid(10)
DRAG = Drag((2, 3), (5, 3))
LEFT = np.tile(np.array([1] * 6 + [0] * 2, np.float32), (8, 1))


def task(**settings):
    return build_task("drag", **settings)


def picture(name, drags, seed=0, mask=None):
    image = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return Example(name, image, caption="red", drags=tuple(drags), mask=mask)


def plan(chosen, example, size=(8, 8)):
    """The moves of every drag step."""
    in_sequence = chosen.pairs == "sequence"
    published = chosen.convention == "published"
    moves = MovePlan(chosen.r, chosen.m, chosen.m_factor, in_sequence, published)
    return moves.steps(example, size, size)


class Spy:
    """A model that tells what it is to decode."""

    def __init__(self, model):
        self.encode, self.denoiser = model.encode, model.denoiser
        self.latent_shape, self.observer = model.latent_shape, model.observer
        self._model = model

    def decode(self, x):
        self.x = x
        return self._model.decode(x)


def latent(chosen, examples, sampler="sde", model=None, grid=GRID):
    """What the last drag step leaves, before it is decoded."""
    spy = Spy(model or WORLD.load("cpu", "float64"))
    noise = Noise(0, tuple(example.id for example in examples))
    with torch.inference_mode():
        chosen.edit(examples, spy, build("samplers", sampler, {}), grid, noise)
    return spy.x


def encoded(example):
    return WORLD.load("cpu", "float64").encode(torch.from_numpy(example.image)[None])


# ------------------------------------------------------------------ Alg. 1, written plainly


def mean_and_sigma(x, e, a_s, a_t, eta):
    """Eq. 6 without its noise."""
    sigma = eta * math.sqrt((1 - a_t) / (1 - a_s) * (1 - a_s / a_t)) if eta else 0.0
    x_0 = (x - math.sqrt(1 - a_s) * e) / math.sqrt(a_s)
    return math.sqrt(a_t) * x_0 + math.sqrt(1 - a_t - sigma**2) * e, sigma


def eq_12(x, source, target, fresh, r, alpha, beta):
    """Cell by cell; squares that stay within the latent."""
    out = x.clone()
    (x_s, y_s), (x_t, y_t) = source, target
    square = [(dx, dy) for dx in range(-r, r) for dy in range(-r, r)]
    in_target = {(x_t + dx, y_t + dy) for dx, dy in square}
    for dx, dy in square:
        i, j = x_s + dx, y_s + dy
        if (i, j) not in in_target:
            out[..., j, i] = beta * x[..., j, i] + math.sqrt(1 - beta**2) * fresh[..., j, i]
        out[..., y_t + dy, x_t + dx] = alpha * x[..., j, i]
    return out


def algorithm_1(example, eta, n, m, noise, mask=None, r=1, alpha=1.1, beta=0.3):
    """One pair of points, along a row; eta = 1 is SDE-Drag, 0 ODE-Drag."""
    model = WORLD.load("cpu", "float64")
    null, cond = model.denoiser([""], 1.0), model.denoiser([example.caption], 1.0)
    times, alphas = GRID.t[-n - 1 :], GRID.alpha[-n - 1 :]

    def eps(x, t):
        t_1 = torch.tensor([t], dtype=torch.float64)
        return null(x, t_1) + (1 + 2 * t / times[0]) * (cond(x, t_1) - null(x, t_1))

    ((a_s, a_t),) = [(drag.source, drag.target) for drag in example.drags]
    x_0 = encoded(example)
    for j in range(m):
        own = noise.within(f"drag {j}")
        path, ws = [x_0], []
        for i in range(n, 0, -1):  # from time i of the grid to the noisier i - 1
            s, a_i, a_up = times[i - 1], alphas[i], alphas[i - 1]
            if eta:
                w = own.like(x_0, "forward", int(times[i]))
                up = math.sqrt(a_up / a_i) * path[-1] + math.sqrt(1 - a_up / a_i) * w
                mean, sigma = mean_and_sigma(up, eps(up, s), a_up, a_i, eta)
                ws.append((path[-1] - mean) / sigma)
            else:
                up, _ = mean_and_sigma(path[-1], eps(path[-1], times[i]), a_i, a_up, 0)
                ws.append(torch.zeros_like(up))
            path.append(up)
        step = (a_t[0] - a_s[0]) // m
        source, target = (a_s[0] + j * step, a_s[1]), (a_s[0] + (j + 1) * step, a_s[1])
        x = eq_12(path[-1], source, target, own.like(x_0, "source"), r, alpha, beta)
        for i in range(n + 1):
            if i > 0:
                a_up, a_i = alphas[i - 1], alphas[i]
                mean, sigma = mean_and_sigma(x, eps(x, times[i - 1]), a_up, a_i, eta)
                x = mean + sigma * ws[n - i]
            if mask is not None:
                x = torch.where(torch.from_numpy(mask) > 0, x, path[n - i])
        x_0 = x
    return x_0


@pytest.mark.parametrize("mask", [None, LEFT])
@pytest.mark.parametrize(("sampler", "eta"), [("sde", 1), ("ode", 0)])
def test_the_loop_is_algorithm_1(sampler, eta, mask):
    example = picture("a", [DRAG], mask=mask)
    plain = algorithm_1(example, eta, n=6, m=3, noise=Noise(0, ("a",)), mask=mask)
    x = latent(task(), [example], sampler)
    torch.testing.assert_close(x, plain, rtol=0, atol=1e-9)
    assert (x - encoded(example)).abs().max() > 0.02


# ------------------------------------------------------------------ the published code


def published_steps(sources, targets, step_size):
    """drag_num: the whole number that brings a step nearest to step_size cells."""
    d = max(math.dist(a, b) for a, b in zip(sources, targets, strict=True))
    if d <= step_size:
        return 1
    m = int(d / step_size)
    return m + 1 if abs(d / m - step_size) > abs(d / (m + 1) - step_size) else m


def copy_and_paste(x, source, target, fresh, r, alpha, beta):
    """In place, cell by cell, for one pair of cells; the last row and column are out of bounds."""
    (x_s, y_s), (x_t, y_t), end = source, target, x.shape[-1] - 1
    columns = range(-min(r, x_s, x_t), min(r, end - x_s, end - x_t))
    rows = range(-min(r, y_s, y_t), min(r, end - y_s, end - y_t))
    square = [(dx, dy) for dx in columns for dy in rows]
    feature = {d: x[..., y_s + d[1], x_s + d[0]].clone() for d in square}
    for dx, dy in square:
        noise = math.sqrt(1 - beta**2) * fresh[..., y_s + dy, x_s + dx]
        x[..., y_s + dy, x_s + dx] = beta * feature[dx, dy] + noise
    for dx, dy in square:
        x[..., y_t + dy, x_t + dx] = feature[dx, dy] * alpha


def published_drag(example, eta, noise, step_size=2.0, r=2, t_0=0.6, scale=3.0):
    """The loop of SDE-Drag's published code on the times that its scheduler gives, all but 0; with
    eta = 0 its ODE arm, which asks for the time where a step up starts."""
    model, n = WORLD.load("cpu", "float64"), GRID.steps
    null, cond = model.denoiser([""], 1.0), model.denoiser([example.caption], 1.0)
    times, alphas = GRID.t[:-1], GRID.alpha[:-1]

    def eps(x, k, cfg):
        t = torch.tensor([times[k]], dtype=torch.float64)
        return null(x, t) + cfg * (cond(x, t) - null(x, t))

    sources = [tuple(int(value) for value in drag.source) for drag in example.drags]
    targets = [tuple(int(value) for value in drag.target) for drag in example.drags]
    begin = n - int(t_0 * n)
    length = len(times[begin - 1 : -1]) - 1
    cfgs = [1 + (scale - 1) * index / length for index in range(n - begin + 1)]
    img, m = encoded(example), published_steps(sources, targets, step_size)
    for j in range(m):
        own, path = noise.within(f"drag {j}"), [img]
        for up, k in enumerate(range(n - 1, begin - 1, -1)):
            a, a_up = alphas[k], alphas[k - 1]
            if eta:
                w = own.like(img, "forward", int(times[k]))
                x = math.sqrt(a_up / a) * path[-1] + math.sqrt(1 - a_up / a) * w
            else:
                x, _ = mean_and_sigma(path[-1], eps(path[-1], k, cfgs[up]), a, a_up, 0)
            path.append(x)
        x = path[-1].clone()
        for p, (a_s, a_t) in enumerate(zip(sources, targets, strict=True)):
            d = [b - a for a, b in zip(a_s, a_t, strict=True)]
            at = [[a + int(i * v / m) for a, v in zip(a_s, d, strict=True)] for i in (j, j + 1)]
            copy_and_paste(x, *at, own.like(img, "source", p), r, 1.1, 0.3)
        for k in range(begin - 1, n - 1):
            a, a_down, source_x = alphas[k], alphas[k + 1], path.pop()
            cfg = cfgs[len(path)]
            mean, sigma = mean_and_sigma(x, eps(x, k, cfg), a, a_down, eta)
            source_mean, _ = mean_and_sigma(source_x, eps(source_x, k, cfg), a, a_down, eta)
            x = mean + (path[-1] - source_mean if sigma else 0)
            if example.mask is not None:
                x = torch.where(torch.from_numpy(example.mask) > 0, x, path[-1])
        img = x
    return img


PUBLISHED = [
    picture("one", [Drag((1.9, 3.2), (6.8, 3.9))], seed=1),  # 5 cells: 2 or 3 steps
    picture("edge", [Drag((6.5, 7.9), (2.1, 4.4))], seed=2, mask=LEFT),
    # The second pair takes what the first brought; steps of 5/4 and of 3/4 cells are rounded.
    picture("more", [Drag((1, 2), (5, 4)), Drag((4, 4), (1, 7)), Drag((3, 3), (3, 3))], seed=3),
]


@pytest.mark.parametrize("example", PUBLISHED, ids=lambda example: example.id)
@pytest.mark.parametrize(("sampler", "eta"), [("sde", 1), ("ode", 0)])
def test_the_published_convention_is_the_published_code(sampler, eta, example):
    chosen = task(convention="published", r=2, m_factor=0.5)
    plain = published_drag(example, eta, Noise(0, (example.id,)))
    x = latent(chosen, [example], sampler)
    torch.testing.assert_close(x, plain, rtol=0, atol=1e-9)
    paper = latent(dataclasses.replace(chosen, convention="paper"), [example], sampler)
    assert (x - paper).abs().max() > 0.02


def test_the_published_number_of_steps_brings_a_step_nearest_to_two_cells():
    chosen, differ = MovePlan(5, None, None, in_sequence=False, published=True), 0
    image = np.zeros((64, 64, 3), np.uint8)
    for dx in range(40):
        for dy in range(0, 40, 3):
            example = Example("a", image, drags=(Drag((50.5, 5.5), (50.5 - dx, 5.5 + dy)),))
            m = published_steps([(50, 5)], [(50 - dx, 5 + dy)], 2.0)
            assert len(chosen.steps(example, (64, 64), (64, 64))) == m
            differ += m != max(1, math.ceil(math.hypot(dx, dy) / 2))
    assert differ > 100


@pytest.mark.parametrize(("t_0", "steps"), [(1.0, 10), (0.1, 10), (0.6, 2)])
def test_the_published_convention_says_when_it_has_too_few_steps(t_0, steps):
    chosen = task(convention="published", t_0=t_0)
    message = rf"task\.convention=published needs at least 2 .* task\.t_0={t_0} of steps={steps} "
    with pytest.raises(UserError, match=message):
        chosen.evaluations_per_image(steps)
    with pytest.raises(UserError, match=message):
        latent(chosen, [picture("a", [DRAG])], grid=WORLD.schedule().grid(steps))


# ------------------------------------------------------------------ batches

UNEQUAL = [
    picture("one", [Drag((3, 3), (3, 4))], seed=1),
    picture("far", [Drag((1, 6), (6, 1)), Drag((2, 2), (2, 3))], seed=2, mask=LEFT),
    picture("mid", [Drag((5, 5), (3, 5)), Drag((7, 7), (7, 6)), Drag((4, 2), (4, 2))], seed=3),
]


@pytest.mark.parametrize("convention", ["paper", "published"])
@pytest.mark.parametrize("pairs", ["together", "sequence"])
@pytest.mark.parametrize("sampler", INVERTIBLE)
def test_images_of_unequal_m_are_each_as_alone_in_any_order(sampler, pairs, convention):
    chosen = task(pairs=pairs, convention=convention)
    assert len({len(plan(chosen, example)) for example in UNEQUAL}) == 3
    together = latent(chosen, UNEQUAL, sampler)
    backwards = latent(chosen, UNEQUAL[::-1], sampler).flip(0)
    alone = torch.cat([latent(chosen, [example], sampler) for example in UNEQUAL])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)
    torch.testing.assert_close(together, backwards, rtol=0, atol=1e-9)


def test_a_finished_image_costs_nothing_more():
    model, chosen = WORLD.load("cpu", "float64"), task()
    with torch.inference_mode():
        noise = Noise(0, tuple(example.id for example in UNEQUAL))
        chosen.edit(UNEQUAL, model, build("samplers", "ode", {}), GRID, noise)
    announced = [chosen.evaluations_of(example, GRID.steps, (8, 8), (8, 8)) for example in UNEQUAL]
    assert len(set(announced)) > 1
    assert model.evaluations == sum(announced)


def test_what_is_announced_is_that_of_all_drag_steps():
    assert task(m=4).evaluations_of(UNEQUAL[0], 200, (8, 8), (8, 8)) == 4 * 2 * 120 * 2
    assert task(m=4, guidance=1.0).evaluations_of(UNEQUAL[0], 200, (8, 8), (8, 8)) == 4 * 2 * 120
    assert task().evaluations_per_image(200) == 2 * 120 * 2


def test_says_what_follows_from_the_size_of_the_latent():
    said = "task.r=1, task.m_factor=1: the model's latents are 16x16, the paper's 64x64"
    assert task(r=None).derived_settings((16, 16)) == said
    assert task(r=None, m=3).derived_settings((16, 16)).startswith("task.r=1: the model's latents")
    assert (
        task(r=None)
        .derived_settings((128, 96))
        .startswith("task.r=8, task.m_factor=0.333333: the model's latents are 96x128")
    )
    assert (
        task(r=None).derived_settings((64, 64)) == task(r=3, m=2).derived_settings((16, 16)) == ""
    )


def test_each_drag_step_has_noise_of_its_own():
    """Two steps of one pair are not the same step from two states."""
    noise, x = Noise(0, ("a",)), torch.zeros(1, *SHAPE)
    draws = [noise.within(f"drag {j}").like(x, "source") for j in range(2)]
    assert abs(np.corrcoef(draws[0].flatten(), draws[1].flatten())[0, 1]) < 0.3
    assert torch.equal(noise.of([0]).like(x, "init"), noise.like(x, "init"))


# ------------------------------------------------------------------ limits


@pytest.mark.parametrize("sampler", EXACT)
def test_nothing_changes_if_the_edit_is_none(sampler):
    """alpha = beta = 1 and a target in its source: an exact inversion returns the image."""
    still = picture("a", [Drag((3, 4), (3, 4))])
    x = latent(task(alpha=1.0, beta=1.0, m=2), [still], sampler)
    torch.testing.assert_close(x, encoded(still), rtol=0, atol=1e-8)


@pytest.mark.parametrize("sampler", INVERTIBLE)
def test_what_is_copied_arrives(sampler):
    """A bright square, alpha = beta = 1, near time 0: a copy of pixels, but for the little
    noise of t_0, of which Cycle-SDE takes off the target's where the source's was copied. Five
    steps: of BDIA's two interleaved ways the one that an edit of z_N does not meet ends it."""
    image = np.full((8, 8, 3), 64, np.uint8)
    image[2:4, 1:3] = 255
    example = Example("a", image, caption="red", drags=(Drag((2, 3), (5, 3)),))
    grid = WORLD.schedule().grid(200)
    chosen = task(m=1, r=1, alpha=1.0, beta=1.0, t_0=0.025, guidance=1.0)
    x = latent(chosen, [example], sampler, grid=grid)
    copied = encoded(example)
    copied[..., 2:4, 4:6] = copied[..., 2:4, 1:3]
    noise = (1 - grid.truncated(0.025).alpha[0]) ** 0.5
    torch.testing.assert_close(x, copied, rtol=0, atol=5 * noise)
    assert 5 * noise < (copied - encoded(example)).abs().max() / 2


def test_outside_the_mask_every_bit_stays():
    example = picture("a", [DRAG, Drag((4, 5), (7, 5))], mask=LEFT)
    x = latent(task(), [example])
    assert torch.equal(x[..., 6:], encoded(example)[..., 6:])
    assert not torch.equal(x[..., :6], encoded(example)[..., :6])


def test_equal_guidance_at_both_ends_is_plain_guidance():
    """A ramp between guidances that differ by nothing to speak of, which takes the other path."""
    example = picture("a", [DRAG])
    flat = latent(task(guidance=3.0, guidance_at_0=3.0), [example])
    ramp = latent(task(guidance=3.0, guidance_at_0=3.0 + 1e-12), [example])
    torch.testing.assert_close(flat, ramp, rtol=0, atol=1e-8)


def published_scale(begin, end, n, length, kind):
    """The published schedules: of the n-th of `length` steps up from t = 0."""
    if kind == "linear":
        return begin + (end - begin) * n / length
    factor = (1 - math.cos(n * math.pi / length)) / 2
    return (1 - factor) * begin + factor * end


@pytest.mark.parametrize(
    ("settings", "kind", "first", "length"),
    [
        ({}, "linear", 0, 5),
        ({"lora_schedule": "cosine"}, "cosine", 0, 5),
        ({"convention": "published"}, "cosine", 100, 4),
        ({"convention": "published", "lora_schedule": "linear"}, "linear", 100, 4),
    ],
)
def test_the_scale_of_the_lora_follows_its_schedule(settings, kind, first, length, monkeypatch):
    scales = []

    def recorded(model, loras, scale):
        scales.append(scale)
        return contextlib.nullcontext()

    monkeypatch.setattr("sde_edit.tasks.drag.adapted", recorded)
    times = tuple(range(900, -1, -100))
    even = Grid(tuple(map(float, times)), tuple(WORLD.schedule().alpha[t] for t in times))
    chosen = task(t_0=5 / 9, m=2, lora_scale=0.9, lora_scale_at_t_0=0.4, **settings)
    latent(chosen, [picture("a", [DRAG])], grid=even)
    assert len(scales) == chosen.m
    t = first + torch.arange(0, 600, 100, dtype=torch.float64)
    expected = [published_scale(0.9, 0.4, n, length, kind) for n in range(6)]
    for scale in scales:
        assert scale(t).tolist() == pytest.approx(expected, abs=1e-12)


def test_on_a_network_images_of_unequal_m_are_as_alone(tiny_model):
    source = StableDiffusion(str(tiny_model), 64)
    model, grid = source.load("cpu", "float64"), source.schedule().grid(3)
    drags = [(Drag((20, 20), (44, 20)),), (Drag((8, 8), (8, 16)),)]
    examples = [
        dataclasses.replace(ShapesEdits().load(i), drags=own)
        for i, own in zip(IDS, drags, strict=False)
    ]
    together = latent(task(), examples, model=model, grid=grid)
    alone = torch.cat([latent(task(), [e], model=model, grid=grid) for e in examples])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drags": ()}, "a: there is nothing to drag"),
        (
            {"drags": (Drag((2, 2), (8, 2)),)},
            r"a: the point \(x, y\) = \(8, 2\) lies outside .* 8x8",
        ),
        ({"drags": (Drag((2, -1), (3, 2)),)}, r"\(2, -1\)"),
        ({"drags": (Drag((2, math.nan), (3, 2)),)}, r"\(2, nan\)"),
        (
            {"mask": np.zeros((8, 8), np.float32)},
            "a: the mask hides nothing, so .* correct it in the data set",
        ),
        ({"mask": np.ones((4, 8), np.float32)}, "a: mask .* differ in size"),
        ({"caption": ""}, "a: task.prompt asks for a caption"),
    ],
)
def test_check_names_what_is_wrong(change, message):
    example = picture("a", [DRAG])
    task().check(example)
    with pytest.raises(UserError, match=message):
        task().check(dataclasses.replace(example, **change))


@pytest.mark.parametrize(
    "settings",
    [{"t_0": 0.0}, {"beta": 1.5}, {"r": 0}, {"m": 0}, {"m_factor": -1.0}, {"alpha": 0.0}],
)
def test_wrong_settings_are_named(settings):
    ((key, value),) = settings.items()
    with pytest.raises(UserError, match=f"{key}={value}"):
        task(**settings)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("constant", [{"lora_steps": 0}, {"lora_scale_at_t_0": 1.0}])
def test_a_schedule_of_a_constant_scale_is_refused(constant, schedule):
    with pytest.raises(UserError, match=rf"task\.lora_schedule={schedule} has no effect"):
        task(lora_schedule=schedule, **constant)
    task(**constant)
    task(convention="published", **constant)
