"""EDICT, by its equations."""

import pytest
import torch

from tests.numerics.samplers.inputs import NOISE, SCHEDULE, edited, network, sampler, start


@pytest.mark.parametrize("alternate", [False, True])
@pytest.mark.parametrize(("p", "steps"), [(0.93, 20), (0.93, 19), (1.0, 20)])
def test_edict_inverts_up_to_round_off(p, steps, alternate):
    grid = SCHEDULE.grid(steps)
    out = edited("edict", network, network, lambda x: x, grid, p=p, alternate=alternate)
    torch.testing.assert_close(out, start(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("alternate", [False, True])
def test_edict_step_by_its_equations(alternate):
    """Eq. 9 to 12, written with a_i and b_i. The last step moves y first if they take turns."""
    grid, p = SCHEDULE.grid(1), 0.93
    (s, a_s, a_t), x = next(iter(grid.intervals())), start()
    a = (a_t / a_s) ** 0.5
    b = (1 - a_t) ** 0.5 - (1 - a_s) ** 0.5 * a
    t = torch.full((2,), s, dtype=torch.float64)
    first = a * x + b * network(x, t)
    second = a * x + b * network(first, t)
    z_inter, y_inter = (second, first) if alternate else (first, second)
    out = sampler("edict", p=p, alternate=alternate).decode(network, x, grid, NOISE)
    torch.testing.assert_close(out, p * z_inter + (1 - p) * y_inter, rtol=1e-12, atol=1e-12)


def published(x, grid, p, *, reverse, alternate):
    """EDICT's published loop, written plainly: a pair of states, of which one moves by eps of the
    other; steps are counted from the noisiest time."""
    steps = list(enumerate(grid.intervals()))
    pair = [x.clone(), x.clone()]
    for i, (s, a_s, a_t) in reversed(steps) if reverse else steps:
        if reverse:
            pair[1] = (pair[1] - (1 - p) * pair[0]) / p
            pair[0] = (pair[0] - (1 - p) * pair[1]) / p
        offset = i % 2 if alternate else 0
        for n in (1, 0) if reverse else (0, 1):
            mine = (n + offset) % 2
            t = torch.full((2,), s, dtype=torch.float64)
            e = network(pair[(mine + 1) % 2], t)
            ratio = (a_s / a_t) ** 0.5
            if reverse:
                pair[mine] = ratio * (pair[mine] - (1 - a_t) ** 0.5 * e) + (1 - a_s) ** 0.5 * e
            else:
                pair[mine] = (pair[mine] - (1 - a_s) ** 0.5 * e) / ratio + (1 - a_t) ** 0.5 * e
        if not reverse:
            pair[0] = p * pair[0] + (1 - p) * pair[1]
            pair[1] = (1 - p) * pair[0] + p * pair[1]
    return pair


@pytest.mark.parametrize(("alternate", "steps"), [(False, 7), (False, 8), (True, 8)])
def test_edict_is_the_published_loop(alternate, steps):
    grid, method = SCHEDULE.grid(steps), sampler("edict", alternate=alternate)
    up = published(start(), grid, 0.93, reverse=True, alternate=alternate)
    inversion = method.encode(network, start(), grid, NOISE)
    states = (inversion.latent, inversion.extra[0][0])
    torch.testing.assert_close(states, tuple(up), rtol=1e-10, atol=1e-10)
    down, _ = published(start(), grid, 0.93, reverse=False, alternate=alternate)
    out = method.decode(network, start(), grid, NOISE)
    torch.testing.assert_close(out, down, rtol=1e-10, atol=1e-10)
