"""What every sampler owes, found through the registry: a new file is tested with no edit here."""

import pytest
import torch

from sde_edit.noise import Noise
from sde_edit.registry import build, kinds
from sde_edit.schedule import Schedule

GRID = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000).grid(16)
IDS = ("a", "b", "c", "d")


def eps(x, t):
    return torch.sin(x + t.view(-1, 1, 1, 1) / 500)


def keep(x, i):
    return x


def decode(kind, ids, project=keep, dtype=torch.float64):
    noise = Noise(0, ids)
    x = noise.like(torch.empty(len(ids), 4, 8, 8, dtype=dtype), "init")
    return build("samplers", kind, {}).decode(eps, x, GRID, noise, project)


@pytest.fixture(params=sorted(kinds("samplers")))
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


def test_projects_at_every_time_of_the_grid_once_and_in_order(kind):
    seen = []

    def project(x, i):
        seen.append(i)
        return x

    decode(kind, IDS, project)
    assert seen == list(range(GRID.steps + 1))


def test_the_projection_is_what_the_next_step_sees(kind):
    """A projection to a constant at the last time is the result."""
    out = decode(kind, IDS, lambda x, i: torch.full_like(x, float(i)))
    assert torch.equal(out, torch.full_like(out, float(GRID.steps)))


def test_declares_version_and_order(kind):
    sampler = build("samplers", kind, {})
    assert sampler.version >= 1
    assert sampler.order in (1, 2)
