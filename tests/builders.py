"""Small made-up things that many tests need: run specs, finished runs on disk, a launcher."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sde_edit import places
from sde_edit.api.experiment import Experiment
from sde_edit.api.launcher import Job, Launched, Work
from sde_edit.api.spec import ComponentSpec, RunSpec
from sde_edit.config import compose_config, experiment, plugin_settings
from sde_edit.engine.attempt import Attempt
from sde_edit.engine.plan import plan_run
from sde_edit.imaging.files import png_bytes
from sde_edit.registry import build
from sde_edit.report.cells import difference, over_family
from sde_edit.report.results import RunResult
from sde_edit.report.table import Cell
from sde_edit.store.files import canonical, safe_name, write_atomic
from sde_edit.store.runs import ImageRecord, Run, RunStore

ROOT = Path(__file__).parents[1]  # of the checkout


def build_task(name: str, **settings: Any) -> Any:
    """The task of conf/task/<name>.yaml, with these settings changed."""
    raw = _task_config(name)
    return build("tasks", raw["kind"], plugin_settings("task", raw) | settings)


@cache
def _task_config(name: str) -> dict[str, Any]:
    task: dict[str, Any] = compose_config([f"task={name}"])["task"]
    return task


def make_spec(
    sampler: str = "ode",
    steps: int = 25,
    *,
    task: str = "inpaint",
    task_params: Mapping[str, Any] | None = None,
    sampler_params: Mapping[str, Any] | None = None,
    data_params: Mapping[str, Any] | None = None,
    model: str = "shapes",
    data: str = "shapes",
    dtype: str = "float32",
    spacing: str = "linspace",
    seed: int = 0,
) -> RunSpec:
    """A spec whose kinds are its names, with digests that follow from them."""
    return RunSpec(
        task=ComponentSpec(task, task, 1, dict(task_params or {"guidance": 7.5})),
        sampler=ComponentSpec(sampler, sampler, 1, dict(sampler_params or {})),
        model=ComponentSpec(model, "stable_diffusion", 1, {}, f"digest-of-{model}"),
        data=ComponentSpec(
            data, data, 1, dict(data_params or {}), f"digest-of-{data}-{data_params}"
        ),
        steps=steps,
        spacing=spacing,
        last_sigma="sigma_min",
        dtype=dtype,
        seed=seed,
    )


def add_images(
    run: Run,
    ids: Sequence[str],
    *,
    of: int | None = None,
    pixels: str | None = None,
    image: bytes | Mapping[str, bytes] = b"png",
    seconds: float = 0.25,
    evaluations: float = 50.0,
    calls: float = 25.0,
    cut: Sequence[str] = (),
    seal: bool = True,
) -> None:
    """Rows and files for these images; sealed unless asked otherwise.

    image: the content of every file, or that of each; the default stands in for an image.
    pixels: what the digest of every image starts with; None is another for each run.
    cut: the images whose prompts were cut.
    """
    contents = {i: image if isinstance(image, bytes) else image[i] for i in ids}
    rows = [
        ImageRecord(
            id=i,
            file=f"{safe_name(i)}.png",
            size=len(contents[i]),
            pixels=f"{pixels or run.id}-{i}",
            seconds=seconds,
            evaluations=evaluations,
            device="cpu",
            dtype="float32",
            calls=calls,
            cut=i in cut,
        )
        for i in ids
    ]
    for row in rows:
        write_atomic(run.path / "outputs" / row.file, contents[row.id])
    text = "".join(canonical(dataclasses.asdict(row)) + "\n" for row in rows)
    write_atomic(run.row_file("a"), text.encode())
    if seal:
        run.write_seal(ids, of or len(ids))


def stored_score(run: Run, metric: str, value: float, **changes: Any) -> dict[str, Any]:
    """A score as it is stored; its replicates share a common part with every other run's, as
    paired resamplings do."""
    seal, b = run.seal, range(100)
    assert seal
    own = int(run.id[:4], 16) / 2**16
    score = {
        "metric": metric,
        "kind": metric,
        "version": 1,
        "settings": {},
        "seal": seal.digest,
        "convention": f"{metric} of the embedded encoder",
        "value": value,
        "low": value - 0.5,
        "high": value + 0.5,
        "n": seal.n,
        "replicates": [value + 0.3 * math.sin(i) + 0.02 * math.cos((3 + own) * i) for i in b],
        "per_example": None,
        "higher_is_better": metric in ("psnr", "ssim"),
        "seconds": 0.1,
    }
    return score | changes


def add_score(run: Run, metric: str, value: float, **changes: Any) -> None:
    """Write a score of a sealed run into its folder."""
    text = json.dumps(stored_score(run, metric, value, **changes))
    write_atomic(run.score_file(metric, 1, {}), text.encode())


def difference_alone(
    ours: Sequence[RunResult], theirs: Sequence[RunResult], metric: str
) -> Cell | str:
    """A difference that is a family of its own, or why there is none."""
    found = difference(ours, theirs, metric)
    return found if isinstance(found, str) else over_family([found])[0]


def finished_run(
    store: RunStore,
    spec: RunSpec,
    scores: Mapping[str, float],
    *,
    n: int = 8,
    of: int | None = None,
    **images: Any,
) -> Run:
    """A sealed run of `n` images in the store, with these scores."""
    run = store.open(spec)
    add_images(run, [f"{i:03d}" for i in range(n)], of=of or n, **images)
    for metric, value in scores.items():
        add_score(run, metric, value)
    return run


def begin_attempt(overrides: Sequence[str], **facts: Any) -> Run:
    """The run of these overrides, with an attempt that has begun; `facts` replace those of its
    file."""
    chosen = experiment(overrides)
    run = RunStore(chosen.settings.results).open(chosen.spec)
    attempt = Attempt(chosen, run, plan_run(chosen, run))
    attempt.__enter__()
    file = run.path / "attempts" / f"{attempt.name}.json"
    write_atomic(file, json.dumps(json.loads(file.read_text()) | facts).encode())
    return run


def grey(level: int, side: int = 64) -> NDArray[np.uint8]:
    """An image of one grey, [side, side, 3]."""
    return np.full((side, side, 3), level, np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The content of an image file."""
    return png_bytes(Image.fromarray(pixels))


def picture(width: int = 32, height: int = 32, seed: int = 0) -> Image.Image:
    """A smooth picture; no two seeds give the same."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    layers = (x * 255 / width, y * 255 / height, np.full_like(x, 25.0 * seed))
    return Image.fromarray(np.stack(layers, axis=-1).astype(np.uint8))


def box_mask(
    width: int = 32, height: int = 32, white: tuple[int, ...] = (0, 0, 8, 16)
) -> Image.Image:
    """Black with a white box (left, top, right, bottom)."""
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, white)
    return mask


def in_groups(names: Sequence[str]) -> list[Any]:
    """The names as parameters; one worker runs all tests of a name, so that it composes once."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]


@cache
def composed(overrides: tuple[str, ...]) -> Experiment:
    """The experiment of these overrides, composed once in a session."""
    return experiment(overrides)


def without_workers() -> AbstractContextManager[object]:
    """While it lasts, sweeps on this machine do their jobs in this process: a worker takes seconds
    to start."""
    return patch("sde_edit.engine.launchers.local.Local.launch", _launch_here)


def _launch_here(
    launcher: object,
    jobs: Sequence[Job],
    worker: Callable[[], Work],
    finish: Callable[[], object],
    folder: Path,
) -> Launched:
    """In place of `Local.launch`. An error of a job is raised."""
    work = worker()
    for job in jobs:
        work(job, lambda images: None)
    return Launched()


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Returns when the condition holds; fails after that many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


PLUGIN = '''"""Half a step of DDIM, made up for tests."""

from dataclasses import dataclass
from typing import ClassVar

from sde_edit.api.sampler import Sampler
from sde_edit.diffusion.denoiser import at
from sde_edit.diffusion.steps import ddim
from sde_edit.registry import plugin


@plugin
@dataclass(frozen=True)
class Halved(Sampler):
    """DDIM along a share of eps."""

    share: float = 0.5
    version: ClassVar[int] = 1
    order: ClassVar[int] = 0
    citation: ClassVar[None] = None

    def decode(self, eps, x_BCHW, grid, noise, project=lambda x, i: x, inversion=None):
        x = project(x_BCHW, 0)
        for i, (s, a_s, a_t) in enumerate(grid.intervals()):
            x = project(ddim(x, self.share * at(eps, x, s), a_s, a_t), i + 1)
        return x
'''


def plugin_folder(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """A folder with the sampler `halved` and its config, or with these files."""
    own = {"samplers/halved.py": PLUGIN, "conf/sampler/halved.yaml": "name: halved\nkind: halved\n"}
    for name, text in (own if files is None else files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@contextmanager
def no_plugins_left() -> Iterator[None]:
    """When it ends, the folders of plug-ins that were taken into use are forgotten."""
    with patch.dict(places._in_use):
        yield


def runs_of_drags(
    results: Path, n: int = 16, samplers: Sequence[str] = ("ode", "sde")
) -> list[Run]:
    """Finished runs of drags, one for each sampler. No two images are equal."""
    found = []
    for place, sampler in enumerate(samplers):
        overrides = ["task=drag", "data=shapes-drags", f"sampler={sampler}", f"data.limit={n}"]
        run = begin_attempt([*overrides, f"paths.results={results}"], ended=1.0)
        ids = [f"test-{i:06d}" for i in range(n)]
        add_images(run, ids, image={i: png(grey(place * n + k)) for k, i in enumerate(ids)})
        found.append(run)
    return found
