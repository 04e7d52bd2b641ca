"""Scores finished runs: by their overrides, or by name from what the run itself says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from sde_edit.api.dataset import Dataset
from sde_edit.api.override import override
from sde_edit.api.spec import ComponentSpec
from sde_edit.commands.find import find_run
from sde_edit.commands.run import asked_metrics, finished_run, score
from sde_edit.commands.scores import describe_scores
from sde_edit.config import (
    Scoring,
    compose_config,
    experiment,
    group_file,
    metric,
    results_dir,
    scoring,
)
from sde_edit.errors import UserError
from sde_edit.evaluation.outputs import seal_of
from sde_edit.imaging.subset import Subset
from sde_edit.overrides import expand, keyed, read
from sde_edit.registry import names, plugin_class
from sde_edit.report.selection import dotted
from sde_edit.store.files import canonical
from sde_edit.store.runs import Run


def evaluate_composed(overrides: Sequence[str], *, force: bool) -> str:
    """Score the finished runs of the overrides that they were made with; return their scores."""
    experiments = [experiment(one) for one in expand(overrides)]
    runs = [finished_run(one) for one in experiments]
    for one, run in zip(experiments, runs, strict=True):
        score(one.settings, run, one.dataset, one.metrics, force)
    return describe_scores(runs, asked_metrics(experiments), whole=False)


def evaluate_named(runs: Sequence[str], overrides: Sequence[str], *, force: bool) -> str:
    """Score finished runs, each given by its path, or by a unique beginning of its id or folder
    name; return their scores.

    overrides: metrics, and what concerns the machine; by default the metrics of the data set.
    Raises UserError for a run that is not finished, and if its data are not on this machine.
    """
    if idle := [o for o in overrides if o not in keyed(overrides, _ALLOWED)]:
        raise UserError(
            f"{idle[0]}: the runs are finished; evaluate RUN takes metrics, data, hardware and "
            "paths alone"
        )
    if asked_names := keyed(overrides, "metrics"):
        for name in compose_config(asked_names)["metrics"]:
            metric(name)  # a misspelt one is said before the data are looked for
    results = results_dir(keyed(overrides, "paths."))
    found = [find_run(name, results) for name in runs]
    asked = {}
    for run in found:
        chosen = _scoring(run, overrides)
        asked[run.id] = [named.spec.name for named in chosen.metrics]
        score(chosen.settings, run, chosen.dataset, chosen.metrics, force)
    return describe_scores(found, asked, whole=False)


_ALLOWED = ("metrics", "data", "hardware", "paths.")


def _scoring(run: Run, overrides: Sequence[str]) -> Scoring:
    """What scores a run. Raises UserError, with the overrides that help, unless the data set that
    the overrides give is that of the run."""
    spec, of = run.spec, seal_of(run).of
    model = [f"model={spec.model.name}"] if spec.model.name in names("model") else []
    results = override("paths.results", str(run.path.parent.parent))
    given = [results, *model, *_data_overrides(spec.data, of, overrides), *overrides]
    try:
        chosen = scoring(given)
    except UserError as error:
        raise UserError(f"run {run.id}: {error}\n{_remedy(spec.data)}") from error
    if differing := _differing(spec.data, chosen.data):
        raise UserError(
            f"run {run.id} was made of other data than there are here: they differ in "
            f"{', '.join(differing)}. {_remedy(spec.data)}"
        )
    if not chosen.metrics:
        raise UserError(f"data={spec.data.name} has no metrics of its own: give metrics=[psnr]")
    dataset = _edited(run, chosen.dataset) if spec.is_external else chosen.dataset
    return Scoring(chosen.data, dataset, chosen.metrics, chosen.settings)


def _data_overrides(data: ComponentSpec, of: int, overrides: Sequence[str]) -> list[str]:
    """The overrides that give the data set of a spec with `of` examples, wherever it lies now."""
    own = [override(f"data.{key}", value) for key, value in data.params.items()]
    if any(field.name == "n" for field in _places(data)):
        own.append(override("data.n", of))
    if any(given.key_or_group == "data" for given in read(overrides)):
        return own
    fitting = [name for name in (data.name, data.kind) if name in names("data")]
    fitting = [name for name in fitting if group_file("data", name)["kind"] == data.kind]
    if not fitting:
        raise UserError(f"no data {data.name!r} in the configs: give data=... of kind {data.kind}")
    return [f"data={fitting[0]}", *own]


def _places(data: ComponentSpec) -> list[Any]:
    """The fields of a data set that are not in its spec, such as where it lies."""
    cls = plugin_class("datasets", data.kind)
    return [field for field in fields(cls) if not field.metadata.get("identity", True)]


def _remedy(data: ComponentSpec) -> str:
    own = [f"data.{field.name}=..." for field in _places(data) if field.name not in ("n", "source")]
    return f"Where the data lie is said by {', '.join(['paths.data=DIR', *own])}"


def _differing(wanted: ComponentSpec, found: ComponentSpec) -> list[str]:
    """The keys in which two specs of data differ, apart from the name."""
    a, b = (dotted("data", {**asdict(one), **one.params}) for one in (wanted, found))
    ignored = ("data.name", "data.params")
    return [
        key
        for key in a
        if not key.startswith(ignored) and canonical(a[key]) != canonical(b.get(key))
    ]


def _edited(run: Run, dataset: Dataset) -> Dataset:
    """The data set without the examples of which there was no image to import."""
    made = run.rows()
    return Subset(dataset, tuple(i for i in dataset.ids() if i in made))
