"""The contract of samplers, which are found through the registry: a new file needs no edit here."""

import pytest
import torch

from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.denoiser import no_edit
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.errors import UserError
from sde_edit.registry import build, kinds, plugin_class

GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(16)
IDS = ("a", "b", "c", "d")


def eps(x, t):
    return torch.sin(x + t.view(-1, 1, 1, 1) / 500)


def decode(kind, ids, project=no_edit, dtype=torch.float64):
    noise = Noise(0, ids)
    x = noise.like(torch.empty(len(ids), 4, 8, 8, dtype=dtype), "init")
    return build("samplers", kind, {}).decode(eps, x, GRID, noise, project)


# `external` stands in a sampler's place and computes nothing.
KINDS = [k for k in sorted(kinds("samplers")) if issubclass(plugin_class("samplers", k), Sampler)]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_batch_of_four_is_four_batches_of_one(kind):
    together = decode(kind, IDS)
    alone = torch.cat([decode(kind, (i,)) for i in IDS])
    assert torch.equal(together, alone)


def test_order_in_the_batch_does_not_matter(kind):
    assert torch.equal(decode(kind, IDS), decode(kind, IDS[::-1]).flip(0))


def test_leaves_the_global_generator_alone(kind):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    decode(kind, IDS)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keeps_the_dtype_of_the_state(kind, dtype):
    assert decode(kind, IDS, dtype=dtype).dtype == dtype


def test_projects_at_every_time_of_the_grid_from_the_noisiest_on(kind):
    seen = []

    def project(x, i):
        seen.append(i)
        return x

    decode(kind, IDS, project)
    first = [seen.index(i) for i in range(GRID.steps + 1)]
    assert first == sorted(first)


def test_the_projection_is_what_the_next_step_sees(kind):
    """A projection to a constant at the last time is the result."""
    out = decode(kind, IDS, lambda x, i: torch.full_like(x, float(i)))
    assert torch.equal(out, torch.full_like(out, float(GRID.steps)))


def test_declares_version_and_order(kind):
    sampler = build("samplers", kind, {})
    assert sampler.version >= 1
    assert sampler.order in (0, 1, 2)


def test_evaluates_as_often_as_it_says(kind):
    """PLMS pays one evaluation more, at the start."""
    calls = []

    def counted(x, t):
        calls.append(len(x))
        return eps(x, t)

    sampler, noise = build("samplers", kind, {}), Noise(0, IDS)
    sampler.decode(counted, noise.like(torch.empty(4, 4, 8, 8), "init"), GRID, noise)
    said = sampler.evaluations_per_step * GRID.steps * len(IDS)
    assert sum(calls) == said + (len(IDS) if kind == "plms" else 0)


def test_all_cite_a_paper_and_one_key_is_one_paper():
    cited = [plugin_class("samplers", k).citation for k in KINDS]
    assert [k for k, citation in zip(KINDS, cited, strict=True) if citation is None] == ["none"]
    papers = {citation for citation in cited if citation}
    assert len({citation.key for citation in papers}) == len(papers)


# ------------------------------------------------------------------ inversion

INVERTING = [k for k in KINDS if plugin_class("samplers", k).inversion != "none"]


def round_trip(kind, ids, network=eps, back=eps, dtype=torch.float64):
    noise = Noise(0, ids)
    x_0 = noise.like(torch.empty(len(ids), 4, 8, 8, dtype=dtype), "data")
    sampler = build("samplers", kind, {})
    inversion = sampler.encode(network, x_0, GRID, noise)
    assert len(inversion.states) == GRID.steps + 1
    assert all(part[0].shape == x_0.shape for part in (inversion.states, *inversion.extra))
    x_T = inversion.latent
    return x_0, x_T, sampler.decode(back, x_T, GRID, noise, no_edit, inversion)


@pytest.mark.parametrize("kind", INVERTING)
def test_an_exact_inversion_is_exact(kind):
    x_0, _, out = round_trip(kind, IDS)
    error = float((out - x_0).abs().max() / x_0.abs().max())
    if plugin_class("samplers", kind).inversion == "exact":
        assert error < 1e-10
    else:
        assert 1e-4 < error < 1  # it is an inversion all the same


@pytest.mark.parametrize("kind", INVERTING)
def test_encode_of_four_is_four_of_one(kind):
    together = round_trip(kind, IDS)[1]
    alone = torch.cat([round_trip(kind, (i,))[1] for i in IDS])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("kind", [k for k in INVERTING if k != "none"])
def test_another_prompt_leads_elsewhere(kind):
    _, _, same = round_trip(kind, IDS)
    _, _, other = round_trip(kind, IDS, back=lambda x, t: 0.9 * eps(x, t))
    assert (other - same).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in INVERTING])
def test_encode_of_a_sampler_that_does_not_invert_is_an_error(kind):
    with pytest.raises(UserError, match="does not invert"):
        round_trip(kind, IDS)
