"""Measures whether scoring needs more memory the more images a run has."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from sde_edit.bench.result import Scoring
from sde_edit.bench.synthetic import DISTINCT
from sde_edit.config import metric
from sde_edit.evaluation.evaluate import measure_run
from sde_edit.imaging.files import png_bytes
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import ImageRecord, Run, RunStore, batched, output_name, pixels_digest

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment

IMAGES = 1000  # of 64x64; fewer of larger ones, which take longer to score, but a tenth at least
METRICS = ("psnr", "ssim")  # they need no weights
_STATM = Path("/proc/self/statm")


def images_to_score(resolution: int) -> int:
    """How many images of that side are scored."""
    return max(IMAGES // 10, min(IMAGES, IMAGES * 64**2 // resolution**2))


def scoring_memory(experiment: Experiment) -> Scoring:
    """Measure synthetic outputs; compare the resident set after a quarter of them and at the end.

    By a quarter, caches are full and threads have their memory. experiment: on synthetic data.
    """
    sizes: list[int] = []

    def on_progress(done: int, total: int) -> None:
        if 4 * done >= total:
            sizes.append(_resident_bytes())

    ids = list(experiment.dataset.ids())
    settings = experiment.settings
    measure_run(
        _with_outputs(experiment, ids),
        experiment.dataset,
        [metric(name) for name in METRICS],
        batched(ids, max(1, min(settings.batch_size, len(ids) // 10))),
        cache=settings.cache,
        workers=settings.loaders,
        on_progress=on_progress,
    )
    return Scoring(len(ids), sizes[-1] - sizes[0] if _STATM.exists() else None)


def _resident_bytes() -> int:
    """The resident set of this process; 0 where it cannot be read, as on a Mac."""
    if not _STATM.exists():
        return 0
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _with_outputs(experiment: Experiment, ids: list[str]) -> Run:
    """A run whose outputs are the images of its examples; equal images share a file."""
    run = RunStore(experiment.settings.results / "scored").open(experiment.spec)
    rows = [_stored(experiment, run, example_id) for example_id in ids[:DISTINCT]]
    repeated = (replace(rows[k % DISTINCT], id=example_id) for k, example_id in enumerate(ids))
    text = "".join(json.dumps(asdict(row)) + "\n" for row in repeated)
    write_atomic(run.row_file("bench"), text.encode())
    return run


def _stored(experiment: Experiment, run: Run, example_id: str) -> ImageRecord:
    pixels, name = experiment.dataset.load(example_id).image, output_name(example_id)
    data = png_bytes(Image.fromarray(pixels))
    write_atomic(run.path / "outputs" / name, data)
    return ImageRecord(example_id, name, len(data), pixels_digest(pixels), None, None, "", "", None)
