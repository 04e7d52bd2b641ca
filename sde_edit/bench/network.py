"""Times the bare network: seconds per row, floating-point operations, the device's peak."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from sde_edit.bench.engine import TimedEngine, wall_seconds
from sde_edit.bench.flops import flops_of
from sde_edit.bench.result import Network
from sde_edit.editing.batch import hints
from sde_edit.networks.base import dtype_of

NETWORK_SECONDS = 3.0  # time budget for one number of rows
MATMUL_SECONDS = 0.5  # time budget for one matrix size
MATMUL_SIZES = {"cuda": (4096, 8192, 16384), "cpu": (512, 1024, 2048)}


# ------------------------------------------------------------------ the bare network
def time_network(engine: TimedEngine) -> Network:
    """The speed of the bare network and of the device's matrix products."""
    matmul, size = _matmul_peak(engine.device, dtype_of(engine.experiment.spec.dtype))
    seconds_by_rows = {}
    with torch.inference_mode():
        for rows in _row_counts(engine.rows_per_call):
            if (seconds := _forward_seconds(engine, rows)) is None:
                break
            seconds_by_rows[rows] = seconds / rows
    return Network(seconds_by_rows, _flops(engine), matmul, size)


def _row_counts(rows_per_call: int) -> list[int]:
    """Powers of two up to twice the rows of a run's call, and those rows themselves."""
    powers = {2**k for k in range((2 * rows_per_call).bit_length())}
    return sorted(powers | {rows_per_call})


def _forward_seconds(engine: TimedEngine, rows: int) -> float | None:
    """Seconds of one call; None if the device's memory is too small."""
    try:
        return _repeated(_forward(engine, rows), engine.device, NETWORK_SECONDS)[0]
    except torch.OutOfMemoryError:
        return None


def _forward(engine: TimedEngine, rows: int) -> Callable[[], Tensor]:
    """A function that calls the network on random latents.

    Guidance 0 is one row for each latent in every model, and leaves out the classifier of `adm`.
    """
    model, examples = engine.model, engine.experiment.dataset
    x_BCHW = torch.randn(rows, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    x_BCHW = x_BCHW.to(model.device, model.state_dtype)
    t_B = torch.full((rows,), 500.0, device=model.device)
    given = [examples.load(engine.ids[0])] * rows
    eps = model.denoiser([e.caption for e in given], 0.0, hints_BHWC=hints(given))
    return lambda: eps(x_BCHW, t_B)


def _repeated(call: Callable[[], object], device: str, budget: float) -> tuple[float, float]:
    """(median, minimum) seconds of one call, over groups of calls within about `budget` seconds.

    It synchronises with the device once per group, because calls follow each other in a run too.
    """
    wall_seconds(call, device)  # warm-up
    seconds = [wall_seconds(call, device)]
    calls = min(50, int(budget / 5 / seconds[0]))

    def group() -> None:
        for _ in range(calls):
            call()

    if calls > 1:
        seconds = [wall_seconds(group, device) / calls for _ in range(5)]
    elif seconds[0] < budget:
        seconds += [wall_seconds(call, device) for _ in range(2)]
    return statistics.median(seconds), min(seconds)


def _flops(engine: TimedEngine) -> int:
    """Floating-point operations of one evaluation."""
    compiled = engine.experiment.settings.compile
    eagerly = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    with torch.no_grad(), eagerly:
        return flops_of(_forward(engine, 1))


def _matmul_peak(device: str, dtype: torch.dtype) -> tuple[float, int]:
    """(FLOP/s, size) of the fastest square matrix product."""
    found = []
    for size in MATMUL_SIZES.get(device.split(":")[0], MATMUL_SIZES["cpu"]):
        a = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
        seconds = _repeated(lambda a=a: a @ a, device, MATMUL_SECONDS)[1]  # type: ignore[misc]
        found.append((2 * size**3 / seconds, size))
        if seconds > MATMUL_SECONDS:
            break  # the next size takes eight times as long
    return max(found)
