"""A CUDA device without a GPU: tensors that have a device, a shape and a dtype, and no values.

An operation whose tensors lie on two devices raises, as on a GPU.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sde_edit.diffusion import denoiser, host

NUMPY = {
    torch.bool: np.bool_,
    torch.uint8: np.uint8,
    torch.int64: np.int64,
    torch.float32: np.float32,
    torch.float64: np.float64,
}


@dataclass
class Reads:
    """How often values were read that a GPU would have to compute first."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    time: float | None = None  # that samplers asked for last


@contextmanager
def fake_cuda(monkeypatch):
    """Tensors of this context are fake; yields its Reads. What is read is all ones, times aside."""
    reads, same_time = Reads(), denoiser.same_time

    def noticed(x, t):
        reads.time = t
        return same_time(x, t)

    def read(x):
        if x.device.type == "cpu":  # the times of a call: nothing to wait for
            return np.full(tuple(x.shape), reads.time)
        reads.shapes.append(tuple(x.shape))
        return np.ones(tuple(x.shape), NUMPY[x.dtype])

    with monkeypatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True):
        patch.setattr(denoiser, "same_time", noticed)
        patch.setattr(host, "read", read)
        patch.setattr(host, "send", _moved)  # FakeTensorMode knows no memory that stays in place
        yield reads


def to_fake_cuda(model):
    """Move the weights of a loaded model to the fake device, in the context of `fake_cuda`."""
    model.device = torch.device("cuda")
    for name, value in vars(model).items():
        if isinstance(value, nn.Module):
            _move(value)
        elif isinstance(value, torch.Tensor):
            setattr(model, name, _moved(value))
    return model


def _move(module):
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(_moved(value), requires_grad=False)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = _moved(value)


def _moved(tensor, device="cuda"):
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
