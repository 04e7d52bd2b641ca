"""Logs a run to wandb under the run's own id: config, tags, scores, a table of example images.

Shards of a run form a wandb group. Tracking never ends a run: without a key or a connection it goes
into files, and what fails later is only logged.
"""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sde_edit.errors import UserError
from sde_edit.store.runs import run_id

if TYPE_CHECKING:
    from sde_edit.api.example import Example, Pixels
    from sde_edit.api.experiment import Experiment

log = logging.getLogger("sde_edit")
_MODES = ("online", "offline", "disabled")
_PATIENCE_S = 10  # for an answer of the server
_UPLOAD_S = 300  # for what is left to upload when a run ends
_TAG = 64  # wandb's limit to the letters of a tag


def online_problem(settings: Mapping[str, str]) -> str | None:
    """Why `wandb.mode=online` would not work here; None if it would, or if another mode is set."""
    if settings["mode"] != "online":
        return None
    import wandb

    try:
        if not wandb.login(prompt=False, verify=False):
            return "there is no API key: run `wandb login` or set WANDB_API_KEY"
        address = wandb.setup().settings.base_url
        with urllib.request.urlopen(address, timeout=_PATIENCE_S):
            return None
    except urllib.error.HTTPError:
        return None  # an answer, whatever it says
    except OSError as error:
        return f"{address} does not answer ({error})"
    except wandb.errors.Error as error:
        return str(error)


def _check_mode(mode: str) -> None:
    if mode not in _MODES:
        raise UserError(f"wandb.mode={mode!r}: allowed are {', '.join(_MODES)}")


class Tracker:
    """Logs one run; a resumed run continues its wandb run. `wandb.mode=disabled`: does nothing."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._run: Any = None

    def __enter__(self) -> Tracker:
        settings = self._experiment.settings
        mode = settings.wandb["mode"]
        _check_mode(mode)
        if problem := online_problem(settings.wandb):
            log.warning(
                "wandb: %s. The run is tracked into files: `wandb sync` them later", problem
            )
            mode = "offline"
        if mode != "disabled":
            settings.results.mkdir(parents=True, exist_ok=True)
            self._try(lambda: self._begin(mode))
        return self

    def _begin(self, mode: str) -> None:
        import wandb

        experiment, settings = self._experiment, self._experiment.settings
        spec, run = experiment.spec, run_id(experiment.spec)
        suffix = f"-{settings.shard}-of-{settings.shards}" if settings.shards > 1 else ""
        self._run = wandb.init(
            project=settings.wandb["project"],
            mode="offline" if mode == "offline" else "online",
            id=run + suffix,
            group=run,
            name=f"{spec.task.name}-{spec.sampler.name}-{spec.steps}{suffix}",
            tags=[part.name[:_TAG] for part in (spec.task, spec.sampler, spec.model, spec.data)],
            config=asdict(spec),
            dir=settings.results,
            resume="allow",
            reinit="create_new",  # runs that share their encoding are active at the same time
            settings=wandb.Settings(finish_timeout=_UPLOAD_S),
        )

    def _try(self, track: Callable[[], object]) -> None:
        """Track something; after a failure nothing more is tracked, and the run goes on."""
        try:
            track()
        except Exception as error:  # noqa: BLE001 - whatever it is, the images matter more
            self._run = None
            log.warning("wandb: %s: %s. The run goes on untracked", type(error).__name__, error)

    def progress(self, images: int, images_per_second: float, evaluations: int) -> None:
        if self._run:
            values = {
                "images": images,
                "images_per_second": images_per_second,
                "network_evaluations": evaluations,
            }
            self._try(lambda: self._run.log(values))

    def images(self, contact_sheet: Path, examples: Iterable[tuple[Example, Pixels]]) -> None:
        """Log the sheet, and a table of examples with their outputs, which is read only if on."""
        if self._run:
            self._try(lambda: self._log_images(contact_sheet, examples))

    def _log_images(self, contact_sheet: Path, examples: Iterable[tuple[Example, Pixels]]) -> None:
        import wandb

        rows = [
            [
                example.id,
                example.prompt,
                wandb.Image(example.image),
                wandb.Image(output),
                None if example.truth is None else wandb.Image(example.truth),
            ]
            for example, output in examples
        ]
        table = wandb.Table(["example", "prompt", "source", "output", "truth"], rows)
        self._run.log({"examples": wandb.Image(str(contact_sheet)), "outputs": table})

    def scores(self, values: Mapping[str, float]) -> None:
        if self._run:
            self._try(lambda: self._run.summary.update(dict(values)))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._run:
            self._try(lambda: self._run.finish(exit_code=0 if kind is None else 1))
