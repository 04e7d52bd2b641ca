"""The table that a sweep will write, before its runs are made: whether it can be made, and how much
each cell will rest on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sde_edit.api.metric import Score
from sde_edit.commands.table import build_figure, build_table, refuse_loss
from sde_edit.engine.plan import plan_run
from sde_edit.store.runs import AttemptRecord, ImageRecord, Run, RunStore, Seal, as_stored

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment
    from sde_edit.api.spec import RunSpec


def rehearse_tables(
    experiments: Sequence[Experiment],
    tables: Mapping[str, Mapping[str, Any]],
    results: Path,
    *,
    force: bool = False,
) -> None:
    """Raises UserError if a table or its figure could not be made of the finished runs or, unless
    `force` is given, if the one that is there rests on more than they will give.

    Every metric is taken to have a value for each image, which only its scores can tell.
    """
    runs = [_foreseen(experiment) for experiment in experiments] if tables else []
    for config in tables.values():
        table = build_table(config, runs)
        build_figure(config, table)
        if not force:
            refuse_loss(table, results / "tables")


def _foreseen(experiment: Experiment) -> ForeseenRun:
    """The run once it is finished. A seal of more images than are asked for stays."""
    store = RunStore(experiment.settings.results)
    run = store.find(experiment.spec)
    plan = plan_run(experiment, run)
    metrics = {named.spec.name: named.metric.higher_is_better for named in experiment.metrics}
    n = len(plan.ids)
    if run and run.seal and plan.sealed:
        n = run.seal.n
        metrics |= {name: score.higher_is_better for name, score in run.scores().items()}
    ids = tuple(experiment.dataset.ids())[:n]
    return ForeseenRun(store.folder(experiment.spec), experiment.spec, ids, plan.of, metrics)


class ForeseenRun(Run):
    """A finished run whose images and scores are stand-ins: only how many there are counts.

    Every score is 1, which a figure with a logarithmic axis can show.

    metrics: name -> whether higher is better.
    """

    def __init__(
        self, path: Path, spec: RunSpec, ids: Sequence[str], of: int, metrics: Mapping[str, bool]
    ) -> None:
        super().__init__(path)
        self._spec = as_stored(spec)
        self._ids, self._of, self._metrics = ids, of, metrics

    @property
    def spec(self) -> RunSpec:
        return self._spec

    @property
    def seal(self) -> Seal:
        return Seal(len(self._ids), self._of, "")

    def attempts(self) -> list[AttemptRecord]:
        return []

    def rows(self) -> dict[str, ImageRecord]:
        cost = None if self._spec.is_external else 0.0
        return {i: ImageRecord(i, "", 0, "", cost, cost, "", "", cost) for i in self._ids}

    def scores(self) -> dict[str, Score]:
        return {name: self._score(name, higher) for name, higher in self._metrics.items()}

    def _score(self, name: str, higher_is_better: bool) -> Score:
        return Score(
            metric=name,
            kind="",
            version=0,
            settings={},
            convention="",
            higher_is_better=higher_is_better,
            seal="",
            value=1.0,
            low=1.0,
            high=1.0,
            n=len(self._ids),
            replicates=[1.0, 1.0],
            per_example=dict.fromkeys(self._ids, 1.0),
        )
