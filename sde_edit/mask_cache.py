"""Masks that a task finds, kept under results/cache: all samplers and all t_0 get the same ones."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from sde_edit.store import Run, canonical, safe_name, write_atomic
from sde_edit.types import Example, FindsMask, RunSpec

Find = Callable[[Sequence[Example]], Tensor]


class MaskCache:
    """The masks of the experiments that agree in everything that masks depend on.

    One black and white PNG per example, at the size of the latent. A run gets copies of its own.
    """

    def __init__(self, cache: Path, spec: RunSpec, task: FindsMask) -> None:
        fields = asdict(spec)
        keys = ("model", "data", "steps", "spacing", "last_sigma", "dtype", "seed")
        basis = {"kind": spec.task.kind, "version": spec.task.version, **task.mask_settings()}
        basis |= {key: fields[key] for key in keys}
        self.folder = cache / "masks" / hashlib.sha256(canonical(basis).encode()).hexdigest()[:12]

    def fill(self, examples: Sequence[Example], find: Find, runs: Sequence[Run]) -> list[Example]:
        """The examples, each with its mask [H, W]; those that are missing are found first."""
        missing = [example for example in examples if not self._file(example).exists()]
        if missing:
            for example, mask in zip(missing, find(missing).cpu().numpy(), strict=True):
                write_atomic(self._file(example), _png(mask))
        for example in examples:
            for run in runs:
                write_atomic(run.mask_file(example.id), self._file(example).read_bytes())
        return [replace(example, mask=self._read(example)) for example in examples]

    def _file(self, example: Example) -> Path:
        return self.folder / f"{safe_name(example.id)}.png"

    def _read(self, example: Example) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        with Image.open(self._file(example)) as image:
            size = (example.image.shape[1], example.image.shape[0])
            pixels = np.asarray(image.resize(size, Image.Resampling.NEAREST))
        return pixels.astype(np.float32)


def _png(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(mask).save(data, "PNG")
    return data.getvalue()
