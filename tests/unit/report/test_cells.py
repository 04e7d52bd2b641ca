"""Cells: differences, verdicts, intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sde_edit.api.metric import centred_interval
from sde_edit.commands.table import build_table
from sde_edit.report.cells import (
    Difference,
    mean_cell,
    over_family,
    score_cell,
    settings_notes,
    verdict_of,
)
from sde_edit.report.multiplicity import studentised, two_sided_p
from sde_edit.report.results import RunResult, load_finished, load_result
from sde_edit.report.table import Cell
from sde_edit.store.runs import RunStore
from tests.builders import add_score, difference_alone, finished_run, make_spec
from tests.unit.report.inpainting import Fill, N, add_numbered, config, inpaint_spec, row_of


def test_difference_is_the_paired_bootstrap(store: RunStore, fill: Fill) -> None:
    runs = fill()
    cell = row_of(build_table(config(), store.runs()), "shapes_fid", "SDE − ODE")["small masks, 50"]
    ode, sde = runs["ode", "small", 50], runs["sde", "small", 50]
    a, b = sde.scores()["shapes_fid"], ode.scores()["shapes_fid"]
    spread = np.subtract(a.replicates, b.replicates)
    value = a.value - b.value
    assert cell.value == pytest.approx(value)
    assert cell.low == pytest.approx(value + np.percentile(spread - spread.mean(), 2.5))
    assert cell.high == pytest.approx(value + np.percentile(spread - spread.mean(), 97.5))
    assert cell.high - cell.low < 0.2  # the common part of the replicates cancels
    assert cell.verdict == "better"
    assert cell.runs == (sde.id, ode.id)


def test_verdict_knows_which_direction_is_better() -> None:
    assert verdict_of(0.1, 0.2, higher_is_better=True) == "better"
    assert verdict_of(0.1, 0.2, higher_is_better=False) == "worse"
    assert verdict_of(-0.2, -0.1, higher_is_better=False) == "better"
    assert verdict_of(-0.2, -0.1, higher_is_better=True) == "worse"
    assert verdict_of(-0.1, 0.1, higher_is_better=True) == "undecided"
    assert verdict_of(0.0, 0.1, higher_is_better=True) == "undecided"


def test_different_examples_are_not_paired(store: RunStore) -> None:
    runs = [store.open(inpaint_spec(sampler)) for sampler in ("ode", "sde")]
    for i, run in enumerate(runs):
        add_numbered(run, 4, first=i)
        add_score(run, "psnr", 20.0)
    a, b = (load_result(run) for run in runs)
    assert a
    assert b
    assert "different examples" in str(difference_alone([a], [b], "psnr"))


def test_the_notes_say_on_what_the_images_were_made(store: RunStore) -> None:
    run = load_finished(finished_run(store, make_spec(), {}, n=2))
    cpu, both = ("cpu (x86_64)",), ("cpu (x86_64)", "cuda:0 (NVIDIA H100), compiled")
    runs = [replace(run, made_on=made_on) for made_on in (both, cpu)]
    assert "Made on cpu (x86_64); cuda:0 (NVIDIA H100), compiled." in settings_notes(runs)
    assert not any("Made on" in note for note in settings_notes([replace(run, made_on=())]))


def test_the_notes_count_the_cut_prompts_of_all_runs(store: RunStore) -> None:
    def run(seed: int, *cut: str) -> RunResult:
        return load_finished(finished_run(store, make_spec(seed=seed), {}, n=4, cut=cut))

    assert not any("cut" in note for note in settings_notes([run(0), run(1)]))
    *_, note = settings_notes([run(2, "000"), run(3, "001"), run(4, "000", "003"), run(0)])
    assert note == (
        "Prompts longer than the text encoder reads, cut at its limit: 1 of 4 images in each of 2 "
        "runs, 2 of 4 images in one run."
    )


def test_settings_are_listed_once_with_all_their_values(store: RunStore) -> None:
    settings = [{"t_0": t_0, "prompt": "{caption}"} for t_0 in (0.5, 0.3, 0.5)]
    specs = [
        *(make_spec(task="edit", task_params=one, seed=k) for k, one in enumerate(settings)),
        make_spec(task="sample", task_params={"prompt": ""}),
        make_spec(task="edit", task_params={"t_0": None, "prompt": "a b"}),
    ]
    runs = [load_finished(finished_run(store, spec, {}, n=2)) for spec in specs]
    assert [note for note in settings_notes(runs[:3]) if note.startswith("Task")] == [
        "Task: edit (version 1) with t_0 0.3 / 0.5, prompt {caption}."
    ]
    assert [note for note in settings_notes(runs) if note.startswith("Task")] == [
        'Task: edit (version 1) with t_0 0.5 / 0.3 / None, prompt {caption} / "a b"; '
        'sample (version 1) with prompt "".'
    ]


def test_one_example_has_no_interval_and_decides_nothing(store: RunStore) -> None:
    runs = [store.open(inpaint_spec(sampler)) for sampler in ("sde", "ode")]
    for run, value in zip(runs, (25.0, 20.0), strict=True):
        add_numbered(run, 1)
        add_score(run, "psnr", value)
    ours, theirs = map(load_finished, runs)
    assert difference_alone([ours], [theirs], "psnr") == Cell(
        5.0,
        n=1,
        of=N,
        runs=(ours.id, theirs.id),
        verdict="undecided",
        pointwise="undecided",
    )
    assert score_cell(ours, "psnr") == Cell(25.0, n=1, of=N, runs=(ours.id,))


# ------------------------------------------------------------------ families
def made_up(gain: float, *, seed: int = 0, n: int = 64, resamplings: int = 200) -> Difference:
    """A difference of `n` examples with this mean in standard deviations."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    values = gain + (z - z.mean()) / z.std()
    counts = rng.multinomial(n, np.full(n, 1 / n), size=resamplings)
    replicates = counts @ values / n
    low, high = centred_interval(gain, replicates)
    verdict = verdict_of(low, high, higher_is_better=True)
    p = two_sided_p(gain, replicates, n)
    return Difference(Cell(gain, low, high, n, pointwise=verdict, p=p), studentised(replicates))


def test_what_is_within_rounding_is_in_no_family() -> None:
    rounding = Difference(Cell(0.0, verdict="undecided", pointwise="undecided"), None)
    alone = over_family([made_up(0.3)])
    beside, other = over_family([made_up(0.3), rounding])
    assert beside == alone[0]
    assert (other.verdict, other.p, other.adjusted) == ("undecided", None, None)
    assert over_family([rounding]) == [other]
    assert over_family([]) == []


def test_of_unequally_many_replicates_the_first_count() -> None:
    """The first resamplings belong together; p comes from all replicates of a comparison."""
    many, few = made_up(0.2), made_up(0.25, seed=1, resamplings=100)
    assert many.null_B is not None
    cut = replace(many, null_B=many.null_B[:100])
    assert over_family([many, few]) == over_family([cut, few])


def test_seeds_with_unequally_many_replicates_share_a_cell(store: RunStore) -> None:
    """`evaluate --bootstrap` measures one of them again; the first resamplings are the same."""
    found = []
    for seed, replicates in ((0, [1.0, 3.0, 2.0]), (1, [5.0, 7.0, 6.0, 60.0])):
        run = finished_run(store, make_spec("sde", seed=seed), {}, n=8)
        add_score(run, "psnr", replicates[2], replicates=replicates)
        found.append(load_finished(run))
    cell = mean_cell(found, "psnr")
    assert cell.value == 4.0
    assert (cell.low, cell.high) == centred_interval(4.0, [3.0, 5.0, 4.0])


def test_a_family_of_many_decides_less() -> None:
    """As the comparisons are of other examples, they are resampled independently."""
    family = [made_up(0.32)] + [made_up(0.02, seed=i) for i in range(1, 30)]
    alone, (together, *_) = over_family(family[:1])[0], over_family(family)
    assert (alone.verdict, alone.pointwise) == ("better", "better")
    assert (together.verdict, together.pointwise) == ("undecided", "better")
    assert together.p == alone.p
    assert together.adjusted is not None
    assert alone.adjusted is not None
    assert together.adjusted > 5 * alone.adjusted


def test_seeds_are_averaged_before_effect_sizes(store: RunStore) -> None:
    """Noise of one seed that another cancels makes no d smaller and no sample larger."""
    ids = [f"{i:03d}" for i in range(N)]
    gain = np.linspace(0.5, 1.5, N)
    noise = 4.0 * (-1) ** np.arange(N)
    results = []
    for sampler, seed, values in (
        ("ode", 0, np.zeros(N)), ("sde", 0, gain + noise), ("sde", 1, gain - noise),
    ):  # fmt: skip
        run = store.open(inpaint_spec(sampler, seed=seed))
        add_numbered(run, N)
        add_score(run, "psnr", 1.0, per_example=dict(zip(ids, values.tolist(), strict=True)))
        results.append(load_finished(run))
    cell = difference_alone(results[1:], results[:1], "psnr")
    assert isinstance(cell, Cell)
    assert cell.effect == pytest.approx(1.0 / gain.std(ddof=1))
    assert cell.superiority == 1.0


def test_examples_without_a_value_do_not_count(store: RunStore) -> None:
    """One example with a value decides nothing, whatever the number of images."""
    for sampler, value in (("ode", 20.0), ("sde", 21.0)):
        run = store.open(inpaint_spec(sampler))
        add_numbered(run, 40)
        add_score(run, "psnr", value, per_example={"0": value})
    a, b = (load_result(run) for run in store.runs())
    assert a
    assert b
    assert score_cell(a, "psnr").n == 1
    found = difference_alone([a], [b], "psnr")
    assert isinstance(found, Cell)
    assert (found.n, found.low, found.verdict) == (1, None, "undecided")
