"""Outputs, examples and features that tests of metrics measure."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.evaluation.per_image import reference
from sde_edit.registry import build


def pair(seed: int, *, n: int = 4, size: int = 24) -> tuple[Tensor, list[Example]]:
    """Outputs that differ from their truths, and the examples."""
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    noise = rng.integers(-40, 41, truths.shape)
    outputs = np.clip(truths.astype(int) + noise, 0, 255).astype(np.uint8)
    masks = (rng.random((n, size, size)) < 0.4).astype(np.float32)
    examples = [
        Example(
            f"e{i}", image=255 - truths[i], caption=f"image {i}", mask=masks[i], truth=truths[i]
        )
        for i in range(n)
    ]
    return torch.from_numpy(outputs), examples


def truths_of(examples: list[Example]) -> np.ndarray:
    """The images that outputs are compared with, [N, H, W, 3]."""
    return np.stack([reference(example) for example in examples])


def features(seed: int, n: int, d: int) -> Tensor:
    """Correlated normal rows [n, d] with a mean of their own."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d))


def batch(*images: Any) -> Tensor:
    return torch.from_numpy(np.stack(images))


def signed(images: Tensor) -> Tensor:
    """uint8 [B, H, W, C] as [B, C, H, W] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def truths(examples: list[Example]) -> Tensor:
    return torch.from_numpy(truths_of(examples))


def assert_batches_agree(metric, images, examples):
    apart = [metric.measure(images[i : i + 1], examples[i : i + 1]) for i in range(len(examples))]
    together = metric.measure(images, examples)
    assert together.dtype == torch.float64
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-4, atol=1e-6)


def loaded(kind: str, **params: object):
    """A metric of this kind, ready to measure on the CPU."""
    metric = build("metrics", kind, params)
    metric.load("cpu")
    return metric
