"""Logs a run to wandb under the run's own id: config, scores and example images.

Shards of a run form a wandb group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sde_edit.errors import UserError
from sde_edit.store.runs import run_id

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment

_MODES = ("online", "offline", "disabled")


class Tracker:
    """Logs one run; a resumed run continues its wandb run. `wandb.mode=disabled`: does nothing."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._run: Any = None

    def __enter__(self) -> Tracker:
        experiment, settings = self._experiment, self._experiment.settings.wandb
        mode = settings["mode"]
        if mode not in _MODES:
            raise UserError(f"wandb.mode={mode!r}: allowed are {', '.join(_MODES)}")
        if mode != "disabled":
            import wandb

            spec, run, sharded = experiment.spec, run_id(experiment.spec), experiment.settings
            suffix = f"-{sharded.shard}-of-{sharded.shards}" if sharded.shards > 1 else ""
            experiment.settings.results.mkdir(parents=True, exist_ok=True)
            self._run = wandb.init(
                project=settings["project"],
                mode="offline" if mode == "offline" else "online",
                id=run + suffix,
                group=run,
                name=f"{spec.task.name}-{spec.sampler.name}-{spec.steps}{suffix}",
                config=asdict(spec),
                dir=experiment.settings.results,
                resume="allow",
                reinit="create_new",  # runs that share their encoding are active at the same time
            )
        return self

    def progress(self, images: int, images_per_second: float, evaluations: int) -> None:
        if self._run:
            self._run.log(
                {
                    "images": images,
                    "images_per_second": images_per_second,
                    "network_evaluations": evaluations,
                }
            )

    def images(self, contact_sheet: Path) -> None:
        if self._run:
            import wandb

            self._run.log({"examples": wandb.Image(str(contact_sheet))})

    def scores(self, values: Mapping[str, float]) -> None:
        if self._run:
            self._run.summary.update(dict(values))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._run:
            self._run.finish(exit_code=0 if kind is None else 1)
