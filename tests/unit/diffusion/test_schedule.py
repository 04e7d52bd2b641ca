"""Noise schedules, and the times of a grid."""

import numpy as np
import pytest

from sde_edit.diffusion.schedule import SPACINGS, Schedule, steps_below
from sde_edit.errors import UserError

SCHEDULE = Schedule.from_betas("scaled_linear", 0.00085, 0.012, 1000)


def test_alpha_is_that_of_stable_diffusion():
    assert SCHEDULE.alpha[0] == pytest.approx(0.99915)
    assert SCHEDULE.alpha[-1] == pytest.approx(0.0046600, abs=1e-7)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 25, 50, 100, 333])
def test_grid_runs_from_noise_to_time_zero(spacing, steps):
    grid = SCHEDULE.grid(steps, spacing)
    assert grid.steps == steps
    assert grid.t[-1] == 0
    assert np.all(np.diff(grid.t) < 0)
    assert grid.alpha == tuple(SCHEDULE.alpha[int(t)] for t in grid.t)
    assert next(iter(grid.intervals())) == (grid.t[0], *grid.alpha[:2])


def test_known_grids():
    assert SCHEDULE.grid(4, "linspace").t == (999, 749, 500, 250, 0)
    assert SCHEDULE.grid(4, "leading").t == (751, 501, 251, 1, 0)
    assert SCHEDULE.grid(4, "trailing").t == (999, 749, 499, 249, 0)
    assert SCHEDULE.grid(4, "quadratic").t == (999, 562, 250, 62, 0)  # 999 (i / 4)^2
    assert SCHEDULE.grid(4, last_sigma="zero").alpha[-1] == 1.0


def test_logsnr_is_even_where_it_has_a_closed_form():
    """alpha = 1 / (1 + exp(ramp)): its log-SNR is linear in time, so both grids are one."""
    ramp = np.linspace(-7, 6, 1000)
    linear = Schedule(tuple((1 / (1 + np.exp(ramp))).tolist()))
    assert linear.grid(27, "logsnr") == linear.grid(27, "linspace")


def test_logsnr_is_even_up_to_the_rounding_of_times():
    grid = SCHEDULE.grid(10, "logsnr")
    assert (grid.t[0], grid.t[-2]) == (999, 2)
    alpha = np.array(SCHEDULE.alpha)
    log_snr = np.log(alpha / (1 - alpha))
    even = np.linspace(log_snr[-1], log_snr[0], 11)
    rounding = [np.ptp(log_snr[max(t - 1, 0) : t + 2]) / 2 for t in map(int, grid.t)]
    assert (np.abs(log_snr[[int(t) for t in grid.t]] - even) <= rounding).all()


def test_karras_is_edms_grid_up_to_the_rounding_of_times():
    """EDM's Eq. 5 with rho = 7, between the noise levels of the schedule."""
    grid, alpha = SCHEDULE.grid(10, "karras"), np.array(SCHEDULE.alpha)
    sigma = ((1 - alpha) / alpha) ** 0.5
    high, low = sigma[-1] ** (1 / 7), sigma[0] ** (1 / 7)
    wanted = np.array([(high + i / 10 * (low - high)) ** 7 for i in range(11)])
    t = [int(t) for t in grid.t]
    rounding = [np.ptp(sigma[max(i - 1, 0) : i + 2]) / 2 for i in t]
    assert (np.abs(sigma[t] - wanted) <= rounding).all()
    assert (t[0], t[-1]) == (999, 0)


@pytest.mark.parametrize(
    ("spacing", "last"), [("quadratic", [4, 2, 1, 0]), ("logsnr", [6, 5, 4, 3, 2, 1, 0])]
)
def test_times_that_round_to_one_move_up_to_the_next(spacing, last):
    """At 50 steps the last of them lie closer than two train times."""
    grid = SCHEDULE.grid(50, spacing)
    assert list(grid.t[-len(last) :]) == last
    assert grid.t[0] == 999


@pytest.mark.parametrize(
    ("t_0", "steps", "count"), [(0.7, 20, 14), (0.7, 25, 18), (0.3, 25, 8), (0.01, 10, 1)]
)
def test_steps_up_to_t_0_are_rounded(t_0, steps, count):
    """Published code cuts: 14, 17, 7 and none."""
    assert steps_below(t_0, steps) == count
    assert SCHEDULE.grid(steps).truncated(t_0).steps == count


@pytest.mark.parametrize(
    ("spacing", "t", "t_0", "part"),
    [
        ("linspace", (999, 749, 500, 250), 1.0, (999, 749, 500, 250)),
        ("linspace", (999, 749, 500, 250), 0.5, (749, 500, 250)),
        ("leading", (751, 501, 251, 1), 0.75, (751, 501, 251, 1)),
        ("leading", (751, 501, 251, 1), 0.25, (251, 1)),
    ],
)
def test_a_grid_that_ends_one_step_in_takes_as_many_steps_from_there(spacing, t, t_0, part):
    grid = SCHEDULE.grid(4, spacing, "one_step_in")
    assert grid.t == t
    assert grid.alpha == tuple(SCHEDULE.alpha[i] for i in t)
    assert grid.truncated(t_0).t == part
    assert grid.reversed().t == t[::-1]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": 1000}, "at most 999"),
        ({"steps": 1000, "spacing": "leading"}, "at most 999"),
        (
            {"steps": 10, "spacing": "even"},
            "linspace, leading, trailing, logsnr, quadratic, karras",
        ),
        ({"steps": 10, "last_sigma": "none"}, "sigma_min, zero, one_step_in"),
        ({"steps": 1, "last_sigma": "one_step_in"}, "leaves out the only step"),
    ],
)
def test_refuses_a_grid_that_does_not_fit(arguments, word):
    with pytest.raises(UserError, match=word):
        SCHEDULE.grid(**arguments)


def test_refuses_more_times_than_there_are_where_log_snr_falls_fastest():
    """Steepest at the noisy end: times that move up there leave [0, T)."""
    steep = Schedule(tuple((1 / (1 + np.exp(np.linspace(0, 2, 100) ** 4))).tolist()))
    assert steep.grid(20, "logsnr").t[0] == 99
    with pytest.raises(UserError, match=r"use fewer steps or grid\.spacing=linspace"):
        steep.grid(60, "logsnr")


def test_refuses_an_unknown_beta_schedule():
    with pytest.raises(UserError, match="squaredcos_cap_v2"):
        Schedule.from_betas("squaredcos_cap_v2", 0.1, 0.2, 10)


def test_multistep_looks_back_where_diffusers_does():
    short, long = SCHEDULE.grid(10), SCHEDULE.grid(20)
    assert [short.is_second_order(i) for i in (0, 1, 8, 9)] == [False, True, True, False]
    assert long.is_second_order(19)
    assert not SCHEDULE.grid(20, last_sigma="zero").is_second_order(19)
