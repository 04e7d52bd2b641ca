"""Plans a study with people from finished runs, and turns its answers into a table and a figure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sde_edit.api.dataset import Dataset
from sde_edit.api.example import Example
from sde_edit.commands.compare import uses_mask
from sde_edit.commands.find import find_run
from sde_edit.config import chosen_data, results_dir
from sde_edit.diffusion.streams import named_generator
from sde_edit.errors import UserError
from sde_edit.imaging.files import png_bytes, read_output, to_pixels
from sde_edit.imaging.marks import enlarged, marked
from sde_edit.overrides import keyed
from sde_edit.registry import Text, settings, strict
from sde_edit.report.cells import settings_notes
from sde_edit.report.formats import rendered, rendered_figure
from sde_edit.report.results import RunResult, load_finished
from sde_edit.report.table import Table
from sde_edit.store.files import write_together
from sde_edit.store.runs import Run, RunStore, rows_digest
from sde_edit.study.figure import bars
from sde_edit.study.plan import PRACTICE, QUESTION, Arm, Item, Plan, Study
from sde_edit.study.results import Scores, study_table
from sde_edit.study.trials import trials_of
from sde_edit.study.votes import raters_of

_COMFORTABLE_SIDE = 384  # pixels to which small images are enlarged
_LISTS, _TEXTS = ("runs", "labels"), ("question",)


@strict
@dataclass(frozen=True)
class Asked:
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

    words: settings KEY=VALUE of `Asked`, and overrides paths.*=DIR and plugins=DIR. Raises
    UserError for a wrong setting, for runs that are not of the same examples, and for a study that
    exists.
    """
    overrides = [word for word in words if word.startswith(("paths.", "plugins="))]
    asked = _asked([word for word in words if word not in overrides])
    results = results_dir(keyed(overrides, "paths."))
    runs = [find_run(one, results) for one in asked.runs]
    study = Study.named(name, results)
    study.check_new()
    plan, images = _plan(name, asked, runs, overrides)
    study.write(plan, images)
    return f"{_described(study)}\nnext: {' '.join(['sde-edit study serve', name, *overrides])}"


def _asked(words: Sequence[str]) -> Asked:
    """The settings in the words KEY=VALUE. Raises UserError."""
    given: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign:
            raise UserError(f"{word}: settings are written KEY=VALUE, as in n=100")
        given[key] = _value(key, text)
    return settings(Asked, given, of="study", under="")


def _value(key: str, text: str) -> Any:
    if key in _LISTS:
        return text.split(",")
    try:
        return text if key in _TEXTS else json.loads(text)
    except ValueError:
        return text


def _plan(
    name: str, asked: Asked, runs: Sequence[Run], overrides: Sequence[str]
) -> tuple[Plan, dict[str, bytes]]:
    """The plan, and its images by SHA-256."""
    found = [load_finished(run) for run in runs]
    labels = _labels(asked, found)
    dataset = _dataset(runs, found, overrides)
    chosen = _chosen(asked, name, dataset, found)
    drawn = [_Drawn(dataset.load(i), runs) for i in chosen]
    items = tuple(one.item for one in drawn)
    images = {digest: content for one in drawn for digest, content in one.images.items()}
    arms = tuple(
        Arm(label, run.id, _images_digest(run, chosen))
        for label, run in zip(labels, runs, strict=True)
    )
    plan = Plan(
        name=name,
        question=asked.question,
        guidelines=_guidelines(drawn),
        seed=asked.seed,
        arms=arms,
        items=items[: asked.n],
        practice=items[asked.n :],
        passed=asked.passed,
        raters=asked.raters,
        half_width=asked.half_width,
        notes=tuple(settings_notes(found)),
    )
    return plan, images


def _labels(asked: Asked, runs: Sequence[RunResult]) -> Sequence[str]:
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
                f"run {run.id} is of other data than data={spec.name} is here: a study compares "
                "runs of one data set, unchanged since they were made"
            )
    return dataset


def _chosen(asked: Asked, name: str, dataset: Dataset, runs: Sequence[RunResult]) -> list[str]:
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


def _images_digest(run: Run, ids: Sequence[str]) -> str:
    rows = run.rows()
    return rows_digest(rows[i] for i in ids)


# ------------------------------------------------------------------ what is shown
class _Drawn:
    """An example as raters see it: its item, and the item's images by SHA-256."""

    def __init__(self, example: Example, runs: Sequence[Run]) -> None:
        self.example = example
        self.mask = example.mask if any(uses_mask(run.spec) for run in runs) else None
        factor = max(1, _COMFORTABLE_SIDE // example.image.shape[1])
        original = marked(example.image, drags=example.drags, mask=self.mask, factor=factor)
        pictures = [original]
        for run in runs:
            edit = to_pixels(read_output(run.output(run.rows()[example.id])))
            pictures.append(enlarged(edit, factor))
        contents = [png_bytes(picture) for picture in pictures]
        digests = [hashlib.sha256(content).hexdigest() for content in contents]
        self.images = dict(zip(digests, contents, strict=True))
        self.item = Item(example.id, _words(example), digests[0], tuple(digests[1:]))


def _words(example: Example) -> str:
    """What the edit should show, in words."""
    if example.target and example.caption:
        return f"{example.caption} → {example.target}"
    return example.prompt


def _guidelines(drawn: Sequence[_Drawn]) -> tuple[str, ...]:
    """What raters must know of the pictures, as far as these have it."""
    lines = ["You see an original picture and two edits of it, made by different methods."]
    if any(one.example.drags for one in drawn):
        lines.append("An arrow in the original shows what should move, and to where.")
    if any(one.mask is not None for one in drawn):
        lines.append("The outline in the original surrounds what may change.")
    if any(one.example.target for one in drawn):
        lines.append("The words above it say what was there, and what should be there.")
    elif any(one.item.words for one in drawn):
        lines.append("The words above it say what the picture should show.")
    return (*lines, "A good edit does what was asked, leaves the rest alone, and looks natural.")


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
    if not any(rater.answers for rater in raters):
        raise UserError(f"nobody has answered yet. Open it with `sde-edit study serve {name}`")
    table = study_table(study.plan, raters, _scores(study.plan, results))
    files = rendered(table, results / "tables")
    files |= rendered_figure(bars(table), table.name, results / "figures")
    write_together(files)
    return table, list(files)


def _scores(plan: Plan, results: Path) -> Scores:
    """The scores of the arms whose runs are still there; none of the others."""
    runs = {run.id: run for run in RunStore(results).runs()}
    return [runs[arm.run].scores() if arm.run in runs else {} for arm in plan.arms]
