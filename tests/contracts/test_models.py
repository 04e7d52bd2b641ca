"""What every model owes, found through the registry. A kind without weights is tested with no edit
here; one that reads files needs a small checkpoint of random weights in `settings`."""

import pytest
import torch

from sde_edit.api.model import Countable
from sde_edit.bench.flops import flops_of
from sde_edit.config import group_file, plugin_settings
from sde_edit.contracts.models import CHECKS, Subject
from sde_edit.errors import UserError
from sde_edit.registry import build, kinds, names

WORDS = {  # two prompts that differ, where there are any
    "adm": ("n02129165 lion", "n02129604 tiger"),
    "gmm": ("red", "blue"),
    "ddpm": ("", ""),
}
GUIDANCE = {"ddpm": 1.0}  # that costs most, where it is not 3
ONE_ROW = {"adm", "ddpm"}  # kinds that need no second row for guidance
SMALL = {  # resolutions
    **dict.fromkeys(
        ("stable_diffusion", "stable_diffusion_xl", "controlnet", "classified_diffusion"), 64
    ),
    **dict.fromkeys(("adm", "ddpm"), 16),
}


@pytest.fixture(params=sorted(kinds("models")))
def kind(request):
    return request.param


@pytest.fixture
def settings(kind, tiny_model, tiny_xl, tiny_ddpm, tiny_adm, tiny_control, tiny_classifier):
    """The settings of the first YAML of that kind, with a small checkpoint in place of its own."""
    raw = next(raw for raw in map(_yaml, names("model")) if raw["kind"] == kind)
    given = plugin_settings("model", raw)
    others = {"adm": tiny_adm, "ddpm": tiny_ddpm, "stable_diffusion_xl": tiny_xl}
    path = others.get(kind, tiny_model)
    files = {"path": path, "control": tiny_control, "classifier": tiny_classifier}
    small = {"resolution": SMALL[kind]} if kind in SMALL else {}
    # ADM's own setting of that name is a file in its folder
    own = {k: str(v) for k, v in files.items() if k in given and (k, kind) != ("classifier", "adm")}
    return given | own | small


def _yaml(name):
    return group_file("model", name)


@pytest.fixture
def source(kind, settings):
    return build("models", kind, settings)


@pytest.fixture
def model(source):
    return source.load("cpu", "float64")


def images(source, n=2, wider=0):
    side = source.resolution
    generator = torch.Generator().manual_seed(0)
    size = (n, side, side + wider, 3)
    return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)


def state(model, n=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, *model.latent_shape, generator=generator, dtype=dtype)


@pytest.fixture
def denoiser(kind, source, model):
    """eps of two examples, or of those given, at the guidance given."""

    def bind(rows=(0, 1), guidance=None, **options):
        words = WORDS.get(kind, ("a b", "c"))
        if kind == "controlnet":
            options.setdefault("hints_BHWC", images(source)[list(rows)])
        guidance = GUIDANCE.get(kind, 3.0) if guidance is None else guidance
        with torch.inference_mode():
            eps = model.denoiser([words[row] for row in rows], guidance, **options)

        def no_grad(x, t):
            with torch.inference_mode():
                return eps(x, torch.as_tensor(t, dtype=x.dtype))

        return no_grad

    return bind


CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def test_its_operations_are_counted_before_its_weights_are_loaded(kind, source, model, denoiser):
    if kind == "gmm":
        assert not isinstance(source, Countable)  # a closed form
        return
    eps, x = denoiser(rows=(0,), guidance=GUIDANCE.get(kind, 0.0)), state(model, 1)
    loaded = flops_of(lambda: eps(x, (5.0,)))
    assert flops_of(source.without_weights()) == loaded > 0


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_to(kind, source, check):
    check(Subject(source, WORDS.get(kind, ("a b", "c")), hinted=kind == "controlnet"))


def test_batch_of_two_is_two_batches_of_one_each_at_its_time(denoiser, model):
    x, t = state(model), (900.0, 20.0)
    alone = [denoiser((row,))(x[row : row + 1], t[row : row + 1]) for row in (0, 1)]
    torch.testing.assert_close(denoiser()(x, t), torch.cat(alone), **CLOSE)
    assert not torch.allclose(denoiser()(x, (20.0, 20.0)), torch.cat(alone))


@pytest.mark.parametrize("n", [1, 2])
def test_the_layout_of_a_state_in_memory_does_not_matter(denoiser, model, n):
    """An autoencoder gives channels-last latents; for one row their strides are ambiguous."""
    eps, x, t = denoiser(tuple(range(n))), state(model, n), (500.0,) * n
    others = [x.to(memory_format=torch.channels_last)]
    others.append(torch.stack([x, others[0]])[1])
    for other in others:
        assert torch.equal(eps(other, t), eps(x, t))


def test_counts_its_evaluations(kind, denoiser, model):
    for guidance in (0.0, 1.0, None):
        before = model.evaluations
        denoiser(guidance=guidance)(state(model), (5.0, 5.0))
        assert model.evaluations - before == (4 if guidance is None and kind not in ONE_ROW else 2)


def test_guidance_extrapolates_from_the_null_prompt(kind, denoiser, model):
    if kind in GUIDANCE:
        pytest.skip("takes no guidance")
    x, t = state(model), (400.0, 400.0)
    null, cond = denoiser(guidance=0.0)(x, t), denoiser(guidance=1.0)(x, t)
    torch.testing.assert_close(denoiser()(x, t), null + 3 * (cond - null), **CLOSE)
    assert not torch.allclose(null, cond)


def test_from_image_to_state_and_back(source, model):
    with torch.inference_mode():
        x = model.encode(images(source))
        back = model.decode(x)
    assert tuple(x.shape) == (2, *model.latent_shape)
    assert tuple(model.latent_shape) == tuple(source.latent_shape)
    assert x.dtype == torch.float64
    assert back.shape == images(source).shape
    assert back.dtype == torch.uint8
    if model.latent_shape[1] == source.resolution:  # pixels, which lose nothing
        assert torch.equal(back, images(source))
        assert 0.9 < x.abs().max() <= 1


def test_works_at_other_shapes_or_says_that_it_does_not(kind, source, model):
    side, factor = source.resolution, source.factor
    assert model.factor == factor
    assert source.latent_size(side, side) == model.latent_shape[1:]
    if factor is None:
        assert model.latent_size(side, 2 * side) == model.latent_shape[1:]
        return
    given = images(source, wider=factor)
    words = WORDS.get(kind, ("a b", "c"))
    hints = {"hints_BHWC": given} if kind == "controlnet" else {}
    with torch.inference_mode():
        x = model.encode(given)
        eps = model.denoiser(words, GUIDANCE.get(kind, 3.0), **hints)
        e = eps(x, torch.full((2,), 400.0))
        back = model.decode(x)
    assert x.shape[2:] == e.shape[2:] == model.latent_size(side, side + factor)
    assert source.latent_size(side, side + factor) == model.latent_size(side, side + factor)
    assert model.latent_size(side, side + 1) == model.latent_size(side, side + factor)
    assert back.shape == given.shape


@pytest.mark.parametrize(("dtype", "expected"), [
    ("float32", torch.float32), ("bfloat16", torch.float32), ("float64", torch.float64),
])  # fmt: skip
def test_the_state_is_at_least_float32(source, dtype, expected):
    model = source.load("cpu", dtype)
    with torch.inference_mode():
        assert model.encode(images(source)).dtype == expected


def test_hints_belong_to_control_nets(kind, denoiser, source):
    if kind == "controlnet":
        with pytest.raises(UserError, match=r"data\.hints"):
            denoiser(hints_BHWC=None)
    else:
        with pytest.raises(UserError, match="control net"):
            denoiser(hints_BHWC=images(source))


def test_says_what_it_is_before_it_is_loaded(source):
    assert len(source.digest()) == 64
    alpha = torch.tensor(source.schedule().alpha)
    assert bool((alpha.diff() < 0).all())
    with pytest.raises(UserError, match="float32"):
        source.load("cpu", "float99")


def test_cites_its_paper(kind, source):
    assert (source.citation is None) == (kind == "gmm")
