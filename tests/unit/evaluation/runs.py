"""A finished run of plain pictures on disk, and a metric that is quick."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from sde_edit.api.dataset import DataStatus
from sde_edit.api.example import Example
from sde_edit.api.metric import NamedMetric
from sde_edit.api.spec import ComponentSpec, RunSpec
from sde_edit.evaluation.evaluate import evaluate_run
from sde_edit.evaluation.per_image import PerImageMetric
from sde_edit.store.runs import ImageRecord, Run, RunStore


@dataclass(frozen=True)
class Brightness(PerImageMetric):
    """Mean value of the output; counts how often it is loaded and asked."""

    scale: float = 1.0
    higher_is_better = True
    tolerance = 0.0
    asked: list[list[str]] = field(default_factory=list, compare=False)
    loads: list[str] = field(default_factory=list, compare=False)

    def convention(self) -> str:
        return f"mean value times {self.scale}"

    def load(self, device: str) -> None:
        self.loads.append(device)

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        self.asked.append([example.id for example in examples])
        return self.scale * images_BHWC.double().flatten(1).mean(1, keepdim=True)


@dataclass(frozen=True)
class Pictures:
    """Examples of one or two sizes, made from their number."""

    n: int = 12
    sides: tuple[int, ...] = (8,)
    gains: Mapping[int, int] = field(default_factory=dict)  # of outputs over inputs, if not 3

    def ids(self) -> list[str]:
        return [f"{i:03d}" for i in range(self.n)]

    def load(self, example_id: str) -> Example:
        size = self._side(example_id)
        image = np.full((size, size, 3), int(example_id), np.uint8)
        return Example(example_id, image, mask=np.ones((size, size), np.float32))

    def sizes(self, ids: Sequence[str]) -> list[tuple[int, int]]:
        return [(self._side(example_id),) * 2 for example_id in ids]

    def status(self) -> DataStatus:
        return DataStatus(self.n)

    def digest(self) -> str:
        return f"{self.n} of {self.sides}"

    def _side(self, example_id: str) -> int:
        return self.sides[int(example_id) % len(self.sides)]


def choice(name: str, **params: object) -> ComponentSpec:
    return ComponentSpec(name=name, kind=name, version=1, params=params)


def make_run(folder: Path, dataset: Pictures, *, seed: int = 0, seal: bool = True) -> Run:
    part = ComponentSpec("x", "x", 1)
    spec = RunSpec(part, part, part, part, 10, "leading", "min", "float32", seed)
    run = RunStore(folder).open(spec)
    lines = []
    for example_id in dataset.ids():
        gain = dataset.gains.get(int(example_id), 3)
        pixels = (dataset.load(example_id).image * gain + seed).astype(np.uint8)
        path = run.path / "outputs" / f"{example_id}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        row = ImageRecord(
            example_id, path.name, path.stat().st_size, digest, 0.0, 0.0, "cpu", "float32"
        )
        lines.append(json.dumps(row.__dict__))
    (run.path / "rows").mkdir(exist_ok=True)
    (run.path / "rows" / "a.jsonl").write_text("\n".join(lines) + "\n")
    if seal:
        run.write_seal(dataset.ids(), of=dataset.n)
    return run


def evaluate(run: Run, data: Pictures, metrics: Sequence[NamedMetric], **options: Any) -> Any:
    """evaluate_run with the cache of the run's own results."""
    return evaluate_run(run, data, metrics, cache=run.path.parents[1] / "cache", **options)
