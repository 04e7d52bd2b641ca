"""Counts floating-point operations; a multiplication plus an addition count as two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from sde_edit.api.model import Countable
from sde_edit.errors import UserError

if TYPE_CHECKING:
    from sde_edit.api.experiment import Experiment


def flops_of(call: Callable[[], object]) -> int:
    """The operations of a call in matrix products, convolutions and attention.

    FlopCounterMode does not know attention on CPUs, which is added here.
    """
    from torch.utils.flop_counter import FlopCounterMode  # reads torch

    cpu_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={cpu_attention: _attention_flops})
    with torch.no_grad(), counter:
        call()
    return int(counter.get_total_flops())


def _attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object
) -> int:
    """FLOPs of scores and weighted values, from shapes [B, heads, tokens, D]."""
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


def flops_per_evaluation(experiment: Experiment) -> int:
    """The operations of one row of the experiment's network, at the size it was made for.

    They are counted from the shapes of its layers, on torch's meta device: no weights are read.
    Raises UserError for a kind of model that does not tell its layers.
    """
    source = experiment.source
    if not isinstance(source, Countable):
        model = experiment.spec.model
        raise UserError(f"--tflops: model={model.name} does not tell the layers of its network")
    return flops_of(source.without_weights())
