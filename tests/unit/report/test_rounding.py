"""Verdicts on differences, and which differences are rounding."""

from dataclasses import replace

import pytest
import torch

from sde_edit import config
from sde_edit.report.cells import is_rounding
from sde_edit.report.results import load_finished
from sde_edit.store.runs import RunStore
from tests.builders import add_images, add_score, difference_alone, make_spec

REPLICATES = [0.3 + 0.001 * (k % 7) for k in range(100)]


@pytest.fixture
def verdict(tmp_path):
    """The verdict on two runs whose scores, and all their replicates, differ by `gap`."""

    def of(gap, value=0.3, tolerance=0.0):
        store, results = RunStore(tmp_path), []
        for sampler, shift in (("ode", 0.0), ("sde", gap)):
            run = store.open(make_spec(sampler))
            add_images(run, [f"{i:02d}" for i in range(16)], pixels="same")
            moved = [value - 0.3 + replicate + shift for replicate in REPLICATES]
            add_score(run, "lpips", value + shift, replicates=moved, tolerance=tolerance)
            results.append(load_finished(run))
        return difference_alone(results[1:], results[:1], "lpips").verdict

    return of


@pytest.mark.parametrize("gap", [1e-6, -1e-6, 3e-8, 0.0])
def test_a_difference_of_rounding_has_no_verdict(verdict, gap):
    """As between a run and its own images brought in from outside, in batches of another size."""
    assert verdict(gap) == "undecided"


@pytest.mark.parametrize(("gap", "expected"), [(1e-4, "worse"), (-1e-4, "better"), (1e-5, "worse")])
def test_a_larger_difference_has_one(verdict, gap, expected):
    assert verdict(gap) == expected


def test_rounding_is_relative_to_the_value():
    assert is_rounding(30.0, 30.0003, 0.0)
    assert not is_rounding(0.3, 0.3003, 0.0)
    assert is_rounding(0.0, 0.0, 0.0)
    assert not is_rounding(0.0, 1e-9, 0.0)


@pytest.mark.parametrize(
    ("metric", "a", "b"),
    [
        *(("source_l2", 1e-9, 2e-9), ("fid", -1e-6, 0.0), ("fid", 0.0, 1e-5), ("kid", -1e-5, 1e-6)),
        *(
            ("lpips", 0.0, 5e-7),
            ("clip", -1e-6, 5e-7),
            ("ssim", 0.0, 3e-6),
            ("known_error", 0, 1e-9),
        ),
        *(("shapes_lpips", 0.0, 5e-7), ("psnr", 0.0, 1e-8), ("drag_distance", 0.0, 1e-6)),
        *(("position_shift", 0.0, 1e-6), ("attributes", 0.0, 1e-16)),
    ],
)
def test_near_0_the_metrics_tolerance_counts(verdict, metric, a, b):
    tolerance = config.metric(metric).metric.tolerance
    assert not is_rounding(a, b, 0.0)
    assert is_rounding(a, b, tolerance)
    assert verdict(b - a, value=a, tolerance=tolerance) == "undecided"
    assert verdict(b - a, value=a) != "undecided"


@pytest.mark.parametrize(
    ("metric", "a", "b"),
    [
        *(("source_l2", 0.0, 1e-3), ("fid", 0.0, 1e-3), ("kid", 0.0, 1e-4), ("lpips", 0.0, 1e-4)),
        *(
            ("clip", 0.0, 1e-4),
            ("ssim", 0.0, 1e-4),
            ("known_error", 0.0, 1e-6),
            ("psnr", 0.0, 1e-3),
        ),
        *(("position_shift", 0.0, 1e-3), ("attributes", 0.0, 1e-3)),
    ],
)
def test_a_small_difference_that_is_none_of_rounding_counts(metric, a, b):
    assert not is_rounding(a, b, config.metric(metric).metric.tolerance)


def test_equal_images_in_other_batches_differ_by_less_than_the_tolerance(images, examples):
    """Images that are nearly the truth, so that all distances are near 0."""
    outputs = images.clone()
    outputs[:, ::2] ^= 1  # the last bit of every other line; the others are kept
    sources = images.numpy()
    near = [replace(e, image=own, truth=own) for e, own in zip(examples, sources, strict=True)]
    for name in NEAR_ZERO:
        metric = config.metric(name).metric
        metric.load("cpu")
        together = metric.measure(outputs, near)
        apart = torch.cat([metric.measure(outputs[i : i + 1], near[i : i + 1]) for i in range(4)])
        ones = torch.ones(1, 4).double()
        a, b = (float(metric.aggregate(rows, ones)) for rows in (together, apart))
        assert is_rounding(a, b, metric.tolerance), name


NEAR_ZERO = (
    *("source_l2", "psnr", "ssim", "kept_error", "shapes_lpips", "shapes_clip"),
    *("shapes_source_clip", "shapes_fid", "shapes_kid", "attributes"),
)
