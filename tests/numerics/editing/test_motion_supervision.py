"""Motion supervision and point tracking, against a plain implementation of the paper."""

import math
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F

from sde_edit.api.example import Drag
from sde_edit.diffusion.schedule import Schedule
from sde_edit.diffusion.steps import ddim
from sde_edit.editing.motion_supervision import (
    DragState,
    MotionSupervision,
    on_map,
    sampled,
    supervision,
    tracked,
)

GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(4)
MAP = (10, 14)
PROMPT = "a b"
FAR = (Drag((10.0, 20.0), (50.0, 24.0)), Drag((40.0, 50.0), (30.0, 30.0)))
NEAR = (Drag((20.0, 20.0), (24.0, 20.0)),)
THERE = (Drag((20.0, 20.0), (22.0, 20.0)),)  # one pixel of the map


def features(channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(channels, 5, 7, generator=generator, dtype=torch.float64)


def points(*pairs):
    return torch.tensor(pairs, dtype=torch.float64)


@pytest.fixture(scope="module")
def model(sharpened_model):
    return sharpened_model


def plain_map(F_Chw, size=MAP):
    return F.interpolate(F_Chw[None], size, mode="bilinear", align_corners=False)[0]


def plain_at(resized, x, y):
    """Between the four pixels about (x, y); one beyond the edge is the nearest on it."""
    height, width = resized.shape[1:]
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    left, top = min(math.floor(x), width - 2), min(math.floor(y), height - 2)
    a, b = x - left, y - top
    upper = (1 - a) * resized[:, top, left] + a * resized[:, top, left + 1]
    lower = (1 - a) * resized[:, top + 1, left] + a * resized[:, top + 1, left + 1]
    return (1 - b) * upper + b * lower


def clamped(value, n):
    return min(max(int(value), 0), n - 1)


def plain_supervision(resized, handles, targets, r):
    total = torch.zeros((), dtype=torch.float64)
    for (x, y), (x_t, y_t) in zip(handles.tolist(), targets.tolist(), strict=True):
        length = math.dist((x, y), (x_t, y_t))
        if length <= 1:
            continue
        d_x, d_y = (x_t - x) / length, (y_t - y) / length
        for q_y in range(int(y) - r, int(y) + r + 1):
            for q_x in range(int(x) - r, int(x) + r + 1):
                u, v = clamped(q_x, resized.shape[2]), clamped(q_y, resized.shape[1])
                here = resized[:, v, u].detach()
                total = total + (plain_at(resized, u + d_x, v + d_y) - here).abs().mean()
    return total


def plain_tracked(resized, handles, wanted, r):
    found = []
    for (x, y), aim in zip(handles.tolist(), wanted.T, strict=True):
        best, least = None, math.inf
        for q_y in range(max(0, int(y) - r), min(resized.shape[1], int(y) + r + 1)):
            for q_x in range(max(0, int(x) - r), min(resized.shape[2], int(x) + r + 1)):
                distance = (resized[:, q_y, q_x] - aim).abs().sum().item()
                if distance < least:
                    best, least = (q_x, q_y), distance
        found.append(best)
    return points(*found)


PLACES = points((6, 4), (0, 0), (13, 9), (1, 8))
AIMS = points((9.0, 2.0), (5.0, 0.0), (13.0, 2.0), (1.0, 9.0))  # the last one has arrived


def test_a_point_is_read_off_the_resized_map():
    where = points((3, 4), (6.3, 2.7), (12.9, 0.2), (-0.5, 4.5), (13.6, 9.8))
    expected = [plain_at(plain_map(features()), x, y) for x, y in where.tolist()]
    found = sampled(features(), where, MAP)
    torch.testing.assert_close(found, torch.stack(expected, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("r", [0, 1, 2])
def test_motion_supervision_and_its_gradient_are_the_papers(r):
    mine, plain = features().requires_grad_(), features().requires_grad_()
    loss = supervision(mine, PLACES, AIMS, r, MAP)
    expected = plain_supervision(plain_map(plain), PLACES, AIMS, r)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    gradients = torch.autograd.grad(loss, mine)[0], torch.autograd.grad(expected, plain)[0]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
    assert gradients[0].abs().max() > 0.01


@pytest.mark.parametrize("r", [1, 3])
def test_tracking_is_the_papers_at_the_edges_too(r):
    wanted = sampled(features(), PLACES, MAP)
    now = features(seed=1)
    found = tracked(now, PLACES, wanted, r, MAP)
    assert torch.equal(found, plain_tracked(plain_map(now), PLACES, wanted, r))
    assert not torch.equal(found, PLACES)
    assert torch.equal(tracked(features(), PLACES, wanted, r, MAP), PLACES)


def test_points_are_rounded_to_pixels_of_the_map_and_stay_on_it():
    sources, targets = on_map([Drag((0, 4.9), (63.9, 63.2))], (64, 64), (32, 32))
    assert sources.tolist() == [[0, 2]]
    assert targets.tolist() == [[31, 31]]
    wide, _ = on_map([Drag((100, 30), (0, 0))], (64, 128), (32, 64))
    assert wide.tolist() == [[50, 15]]


def test_the_mask_term_is_of_what_lies_outside():
    outside = torch.zeros(1, 5, 7, dtype=torch.bool)
    outside[..., 4:] = True
    z = features(channels=4, seed=2)
    pull, whole = (
        DragState(features(channels=4), part, (PLACES, AIMS))
        for part in (outside, torch.zeros_like(outside))
    )
    changed = z.clone()
    changed[:, :, 2:5] += 0.25  # one column of three lies outside
    for each in (pull, whole):
        each.track(features(), z, 3, MAP)
    moving = supervision(features(), PLACES, AIMS, 1, MAP)
    assert torch.equal(whole.loss(features(), changed, 1, 0.1, MAP), moving)
    kept = pull.loss(features(), changed, 1, 0.1, MAP) - moving
    assert kept.item() == pytest.approx(0.1 * 4 * 5 * 0.25)


def motion(model, steps, *, lr=0.01):
    return MotionSupervision(model, 0, 1, 3, 0.1, lr, steps, lambda rows: nullcontext())


def latent(model, rows=1):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(rows, *model.latent_shape, generator=generator, dtype=torch.float64)


def outside_of(*masks):
    """[B, 1, 8, 8]: True in the right half where the mask is the left."""
    out = torch.zeros(len(masks), 1, 8, 8, dtype=torch.bool)
    for row, mask in zip(out, masks, strict=True):
        row[..., 4:] = mask is not None
    return out


def plain_drag_diffusion(model, x, drags, outside, steps, lr=0.01):
    """One image, Adam written out; beside the published loop."""
    text, t = model.embed([PROMPT]), torch.full((1,), GRID.t[0], dtype=torch.float64)
    handles, targets = on_map(drags, (64, 64), (32, 32))
    latent, mean, square = x.clone(), torch.zeros_like(x), torch.zeros_like(x)
    for k in range(steps):
        latent = latent.detach().requires_grad_()
        e, seen = model.features(latent, t, text, 0)
        z = ddim(latent, e, GRID.alpha[0], GRID.alpha[1])
        resized = plain_map(seen[0], (32, 32))
        if k == 0:
            z_0 = z.detach()
            columns = [resized[:, int(y), int(x)].detach() for x, y in handles.tolist()]
            wanted = torch.stack(columns, 1)
        else:
            handles = plain_tracked(resized, handles, wanted, 3)
        if ((targets - handles).norm(dim=1) <= 1).all():
            break
        loss = plain_supervision(resized, handles, targets, 1)
        loss = loss + 0.1 * ((z - z_0).abs() * outside).sum()
        (g,) = torch.autograd.grad(loss, latent)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        m, v = mean / (1 - 0.9 ** (k + 1)), square / (1 - 0.999 ** (k + 1))
        latent = latent.detach() - lr * m / (v.sqrt() + 1e-8)
    return latent.detach(), k + 1


@pytest.mark.parametrize("mask", [None, "left"])
@pytest.mark.parametrize("drags", [FAR, NEAR])
def test_the_loop_is_the_published_one(model, drags, mask):
    x, outside = latent(model), outside_of(mask)
    expected, steps = plain_drag_diffusion(model, x, drags, outside, 6)
    found = motion(model, 6).optimise(
        x, model.embed([PROMPT]), GRID, outside, [on_map(drags, (64, 64), (32, 32))], (32, 32)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    assert (found - x).abs().max() > 0.005
    assert (steps == 6) == (drags == FAR)


def test_the_gradient_is_the_slope_of_the_loss_and_reaches_the_latent_only(model):
    x, t = latent(model), torch.full((1,), GRID.t[0], dtype=torch.float64)
    handles, targets = on_map(FAR, (64, 64), (32, 32))
    text = model.embed([PROMPT])
    here = sampled(model.features(x, t, text, 0)[1][0], handles, (32, 32))

    def distance(latent):
        """Smooth, where motion supervision stops the gradient of one side."""
        e, seen = model.features(latent, t, text, 0)
        return (sampled(seen[0], targets, (32, 32)) - here).square().sum() + e.square().sum()

    leaf = x.clone().requires_grad_()
    distance(leaf).backward()
    way = latent(model, 2)[1:]
    step = 1e-5
    slope = (distance(x + step * way) - distance(x - step * way)) / (2 * step)
    assert (leaf.grad * way).sum().item() == pytest.approx(slope.item(), rel=1e-6)
    assert all(weights.grad is None for weights in model.unet.parameters())


def test_an_image_that_has_arrived_drops_out(model):
    """NEAR arrives on the way, THERE is there from the start; neither moves from then on."""
    batch, x = (NEAR, FAR, THERE), latent(model, 3)
    before = model.evaluations
    found = motion(model, 6).optimise(
        x,
        model.embed([PROMPT] * 3),
        GRID,
        outside_of(None, None, None),
        [on_map(drags, (64, 64), (32, 32)) for drags in batch],
        (32, 32),
    )
    spent = model.evaluations - before
    alone = [plain_drag_diffusion(model, x[b : b + 1], batch[b], 0, 6) for b in range(3)]
    torch.testing.assert_close(found, torch.cat([one for one, _ in alone]), rtol=0, atol=1e-7)
    steps = alone[0][1]
    assert 1 < steps < 6
    assert spent == (2 * steps - 1) + 2 * 6  # the last step of NEAR is not backpropagated
    assert torch.equal(found[2], x[2])
