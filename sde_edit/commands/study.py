"""Plans a study with people from finished runs, and turns its answers into a table and a figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sde_edit.api.dataset import Dataset
from sde_edit.commands.compare import uses_mask
from sde_edit.commands.find import find_run
from sde_edit.config import chosen_data, results_dir
from sde_edit.diffusion.streams import named_generator
from sde_edit.errors import UserError
from sde_edit.overrides import keyed
from sde_edit.registry import Text, settings, strict
from sde_edit.report.cells import settings_notes
from sde_edit.report.formats import rendered, rendered_figure
from sde_edit.report.results import RunResult, load_finished
from sde_edit.report.table import Table
from sde_edit.store.files import write_together
from sde_edit.store.runs import Run, RunStore, rows_digest
from sde_edit.study.figure import bars
from sde_edit.study.pictures import guidelines, store_item
from sde_edit.study.plan import PRACTICE, QUESTION, Arm, Plan, Study
from sde_edit.study.results import Scores, study_table
from sde_edit.study.trials import trials_of
from sde_edit.study.votes import raters_of

_LISTS, _TEXTS = ("runs", "labels"), ("question",)


@strict
@dataclass(frozen=True)
class StudySettings:
    """Settings of `study new`.

    runs: names of two or more finished runs. labels: what results call them; by default the names
    of their samplers. n: the number of examples, each shown once for every pair of runs. seed: of
    the examples, their order and sides. passed: the share of the checks that a rater must pass to
    count. raters, half_width: the study may stop when so many raters count and half of every
    interval is at most that.
    """

    runs: Annotated[tuple[Text, ...], Field(min_length=2)]
    question: Text = QUESTION
    n: Annotated[int, Field(ge=2)] = 100
    seed: int = 0
    labels: tuple[Text, ...] = ()
    passed: Annotated[float, Field(ge=0, le=1)] = 0.8
    raters: Annotated[int, Field(ge=1)] = 6
    half_width: Annotated[float, Field(gt=0, lt=1)] = 0.1


# ------------------------------------------------------------------ the plan
def new_study(name: str, words: Sequence[str]) -> str:
    """Write the plan of a study and the images that it shows; returns what was written, in words.

    words: settings KEY=VALUE of `StudySettings`, and overrides paths.*=DIR and plugins=DIR. Raises
    UserError for a wrong setting, for runs that are not of the same examples, and for a study that
    exists.
    """
    overrides = [word for word in words if word.startswith(("paths.", "plugins="))]
    asked = _asked([word for word in words if word not in overrides])
    results = results_dir(keyed(overrides, "paths."))
    runs = [find_run(one, results) for one in asked.runs]
    study = Study.named(name, results)
    study.check_new()
    study.write(_plan(study, asked, runs, overrides))
    return f"{_described(study)}\nnext: {' '.join(['sde-edit study serve', name, *overrides])}"


def _asked(words: Sequence[str]) -> StudySettings:
    """The settings in the words KEY=VALUE. Raises UserError."""
    given: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign:
            raise UserError(f"{word}: settings are written KEY=VALUE, as in n=100")
        given[key] = _value(key, text)
    return settings(StudySettings, given, of="study", under="")


def _value(key: str, text: str) -> Any:
    if key in _LISTS:
        return text.split(",")
    try:
        return text if key in _TEXTS else json.loads(text)
    except ValueError:
        return text


def _plan(
    study: Study, asked: StudySettings, runs: Sequence[Run], overrides: Sequence[str]
) -> Plan:
    """The plan; stores its images."""
    found = [load_finished(run) for run in runs]
    labels = _labels(asked, found)
    dataset = _dataset(runs, found, overrides)
    chosen = _chosen(asked, study.name, dataset, found)
    made = [run.rows() for run in runs]
    outlined = any(uses_mask(run.spec) for run in found)
    items = []
    for example in map(dataset.load, chosen):
        edits = [run.output(rows[example.id]) for run, rows in zip(runs, made, strict=True)]
        items.append(store_item(study, example, edits, outlined=outlined))
    return Plan(
        name=study.name,
        question=asked.question,
        guidelines=guidelines(dataset.load(chosen[0]), outlined=outlined),
        seed=asked.seed,
        arms=tuple(
            Arm(label, run.id, rows_digest(rows[i] for i in chosen))
            for label, run, rows in zip(labels, runs, made, strict=True)
        ),
        items=tuple(items[: asked.n]),
        practice=tuple(items[asked.n :]),
        passed=asked.passed,
        raters=asked.raters,
        half_width=asked.half_width,
        notes=tuple(settings_notes(found)),
    )


def _labels(asked: StudySettings, runs: Sequence[RunResult]) -> Sequence[str]:
    """A label for each run, by default its sampler. Raises UserError if two would be alike."""
    if len({run.id for run in runs}) < len(runs):
        raise UserError(f"runs={','.join(asked.runs)}: a run is named twice")
    labels = asked.labels or tuple(run.spec.sampler.name for run in runs)
    if len(set(labels)) < len(runs) or len(labels) != len(runs):
        raise UserError(
            f"{len(runs)} runs cannot be told apart by {', '.join(labels)}: give each a label of "
            "its own, as labels=SDE-Drag,ODE-Drag"
        )
    return labels


def _dataset(runs: Sequence[Run], found: Sequence[RunResult], overrides: Sequence[str]) -> Dataset:
    """The data set of all runs. Raises UserError if they have several, or if it has changed."""
    spec, dataset = chosen_data([*runs[0].overrides(), *overrides])
    for run in found:
        if run.spec.data.digest != spec.digest:
            raise UserError(
                f"run {run.id} edited data={run.spec.data.name}, and its examples are not those of "
                f"data={spec.name} here: a study compares runs of one data set, unchanged since "
                "they were made"
            )
    return dataset


def _chosen(
    asked: StudySettings, name: str, dataset: Dataset, runs: Sequence[RunResult]
) -> list[str]:
    """The ids of the items and then of those for practice, drawn from what all runs have."""
    shared = frozenset.intersection(*(run.examples for run in runs))
    common = [i for i in dataset.ids() if i in shared]
    wanted = asked.n + PRACTICE
    if len(common) < wanted:
        raise UserError(
            f"n={asked.n}: the runs share {len(common)} examples, and {PRACTICE} of them are for "
            f"practice: n={len(common) - PRACTICE} at most"
        )
    drawn = named_generator(f"{asked.seed}\x1f{name}\x1fitems").permutation(len(common))
    return [common[int(i)] for i in drawn[:wanted]]


def _described(study: Study) -> str:
    plan = study.plan
    questions = len(trials_of(plan, 0))
    arms = ", ".join(f"{arm.label} (run {arm.run})" for arm in plan.arms)
    return (
        f"{study.folder}: plan {plan.digest[:12]}\n"
        f"{arms}: {len(plan.items)} items, {questions} questions to each of {plan.raters} raters"
    )


# ------------------------------------------------------------------ the results
def publish_results(name: str, overrides: Sequence[str]) -> tuple[Table, list[Path]]:
    """Write the table of a study to results/tables and its bars to results/figures.

    overrides: paths.results=DIR. Raises UserError if nobody has answered, and if the plan or an
    answer is of another study.
    """
    results = results_dir(keyed(overrides, "paths."))
    study = Study.named(name, results)
    raters = raters_of(study)
    if not any(one.kind == "main" for rater in raters for one in rater.answers):
        raise UserError(
            f"no question that counts is answered yet. Open it with `sde-edit study serve {name}`"
        )
    table = study_table(study.plan, raters, _scores(study.plan, results))
    files = rendered(table, results / "tables")
    files |= rendered_figure(bars(table), table.name, results / "figures")
    write_together(files)
    return table, list(files)


def _scores(plan: Plan, results: Path) -> Scores:
    """The scores of the arms whose runs are still there; none of the others."""
    runs = {run.id: run for run in RunStore(results).runs()}
    return [runs[arm.run].scores() if arm.run in runs else {} for arm in plan.arms]
