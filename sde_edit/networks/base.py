"""What loaded models share: guidance, counting, casts, pixels. A model adds only its network.

Letters in tensor names: as in sde_edit/api; a condition is a tuple of tensors, one row per example.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from sde_edit.api.observer import Observer
from sde_edit.diffusion import host
from sde_edit.diffusion.denoiser import Denoiser
from sde_edit.diffusion.guidance import guide, rows_per_evaluation
from sde_edit.errors import NotFiniteError, UserError
from sde_edit.heap import keep_freed_blocks
from sde_edit.networks.checkpoints import Prediction

if TYPE_CHECKING:
    from torch import Tensor, nn

_DTYPES = ("float16", "bfloat16", "float32", "float64")

Condition = tuple["Tensor", ...]


def dtype_of(name: str) -> torch.dtype:
    """The dtype of a spec's name. Raises UserError with the allowed names."""
    if name not in _DTYPES:
        raise UserError(f"dtype={name!r}: allowed are {', '.join(_DTYPES)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


class Network(ABC):
    """A network on its device that counts its evaluations.

    The sampler's state stays float32 (float64 for a float64 network); only the network's input is
    cast to the network's dtype.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.state_dtype = torch.float64 if dtype == torch.float64 else torch.float32
        self.evaluations = 0
        self.calls = 0
        self.observer = Observer()
        self._told = 0  # evaluations of which the observer knows
        keep_freed_blocks()

    def _placed(self, module: Any, *, compile: bool = False) -> Any:
        """A part of the model, moved to the device and perhaps compiled."""
        # Contiguous, not channels-last: torch's group norms cost more in that layout than the
        # convolutions save, in bfloat16 on CPUs and on an H100 (docs/performance.md).
        placed = module.to(self.device)
        return _compiled(placed, self.device) if compile else placed

    def _as_input(self, x_BCHW: Tensor) -> Tensor:
        """The state in the dtype of the network."""
        return x_BCHW.to(self.dtype)

    @abstractmethod
    def _predict(self, x_BCHW: Tensor, t_B: Tensor, *condition: Tensor) -> Tensor:
        """eps in the dtype of x; the condition has one row per row of x."""

    def _network(self, x_BCHW: Tensor, t_B: Tensor, *condition: Tensor) -> Tensor:
        self.evaluations += len(x_BCHW)
        self.calls += 1
        # One layout in memory: in another, convolutions round otherwise, and an inversion that is
        # exact for equal eps of equal states is not exact.
        x = x_BCHW.contiguous()
        out = self._predict(x, host.send(t_B, self.device), *condition)
        rows, self._told = self.evaluations - self._told, self.evaluations
        self.observer.evaluated(rows)
        return out

    def _guided(self, cond: Condition, null: Condition, guidance: float) -> Denoiser:
        """A Denoiser with guidance (App. A.1), which evaluates both halves in one call."""
        if rows_per_evaluation(guidance) == 1:
            one = cond if guidance else null
            return lambda x_BCHW, t_B: self._network(x_BCHW, t_B, *one)
        both = tuple(map(torch.cat, zip(null, cond, strict=True)))

        def eps(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
            x, t = torch.cat([x_BCHW, x_BCHW]), torch.cat([t_B, t_B])
            e_null, e_cond = self._network(x, t, *both).chunk(2)
            return guide(e_null, e_cond, guidance)

        return eps


def _compiled(network: nn.Module, device: torch.device) -> Any:
    """The network, compiled at its first calls. One graph serves every number of rows above 1.

    On a CPU the graph holds the weights, packed for matrix products. On a GPU it would keep them
    twice.
    """
    compiled: Any = torch.compile(network, dynamic=True, options={"freezing": device.type == "cpu"})
    compiled.register_forward_pre_hook(_vary_rows_only, with_kwargs=True)
    return compiled


def _vary_rows_only(_network: nn.Module, given: Any, named: Any) -> None:
    """Tell the compiler that only the number of rows varies, as fixed sizes make better code."""
    from torch._dynamo import mark_static  # takes a second
    from torch.utils._pytree import tree_leaves

    for value in tree_leaves((given, named)):
        if isinstance(value, torch.Tensor):
            mark_static(value, list(range(1, value.ndim)))


def check_compiler(device: torch.device) -> None:
    """Raises UserError if torch.compile lacks the compilers that it calls for this device."""
    on_gpu = device.type == "cuda"
    gcc, clang = ("gcc", "clang") if on_gpu else ("g++", "clang++")
    asked = os.environ.get("CC" if on_gpu else "CXX")
    if not any(map(shutil.which, [asked] if asked else [gcc, clang])):
        raise UserError(
            f"hardware.compile=true needs a compiler, and there is no {asked or gcc} on this "
            f"machine: install one (apt install {'gcc' if on_gpu else 'g++'}), or leave "
            "hardware.compile=false"
        )
    if on_gpu and find_spec("triton") is None:
        raise UserError(
            "hardware.compile=true needs the package triton on a GPU: pip install triton, or leave "
            "hardware.compile=false"
        )


COMPILED = "compiled"  # folder of compiled networks, in paths.cache


def keep_compiled(cache: Path) -> None:
    """Have torch.compile keep its code in `cache`, where later processes find it.

    TORCHINDUCTOR_CACHE_DIR takes precedence. torch's own place is a temporary folder.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache.resolve() / COMPILED))


class PixelNetwork(Network):
    """A network in pixel space: its state is the image, scaled to [-1, 1]."""

    latent_shape: tuple[int, int, int]
    factor: int | None

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        return pixel_size(height, width, self)

    def encode(self, images_BHWC: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> float [B, 3, H, W] in [-1, 1]."""
        pixels = images_BHWC.to(self.device).permute(0, 3, 1, 2)
        return pixels.to(self.state_dtype) / 127.5 - 1

    def decode(self, x_BCHW: Tensor) -> Tensor:
        """float [B, 3, H, W], clamped to [-1, 1] -> uint8 [B, H, W, 3] on the CPU.

        Raises NotFiniteError if the state is not finite.
        """
        return to_levels(x_BCHW, self.dtype)


class _Sized(Protocol):
    """A model in pixel space, loaded or not."""

    @property
    def latent_shape(self) -> tuple[int, int, int]: ...

    @property
    def factor(self) -> int | None: ...


def pixel_size(height: int, width: int, model: _Sized) -> tuple[int, int]:
    """(h, w) of a model in pixel space: rounded up to its factor, or its only size."""
    if model.factor is None:
        return model.latent_shape[1:]
    return -(-height // model.factor) * model.factor, -(-width // model.factor) * model.factor


def to_levels(pixels_BCHW: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, 3, H, W] in [-1, 1] -> uint8 [B, H, W, 3] on the CPU, rounded and not floored.

    Raises NotFiniteError, which names the network's dtype, if a value is not finite.
    """
    pixels = pixels_BCHW.float()
    finite = host.read(pixels.isfinite().flatten(1).all(1)).tolist()
    if not all(finite):
        raise NotFiniteError(
            f"the network gave NaN or infinity in {str(dtype).removeprefix('torch.')}",
            [b for b, whole in enumerate(finite) if not whole],
        )
    levels: Tensor = (127.5 * (pixels + 1)).clamp(0, 255).round().to(torch.uint8)
    return torch.from_numpy(host.read(levels.permute(0, 2, 3, 1).contiguous()))


def refuse_hints(hints_BHWC: Tensor | None) -> None:
    """Raises UserError if there are hints, for a model without a control net."""
    if hints_BHWC is not None:
        raise UserError("hints need a model with a control net: use model=sd15_scribble")


def alpha_at(alpha_T: Tensor, t_B: Tensor) -> Tensor:
    """alpha_bar [B, 1, 1, 1] from alpha_T [T]; log alpha is linear between train times."""
    low = t_B.long().clamp(0, len(alpha_T) - 2)
    log_alpha = alpha_T.log()
    mixed = torch.lerp(log_alpha[low], log_alpha[low + 1], (t_B - low).to(alpha_T.dtype))
    return mixed.exp().view(-1, 1, 1, 1)


def eps_of_prediction(
    out_BCHW: Tensor, x_BCHW: Tensor, t_B: Tensor, *, prediction: Prediction, alpha_T: Tensor
) -> Tensor:
    """eps, from the output of a network that predicts eps or v."""
    if prediction == "epsilon":
        return out_BCHW
    return eps_of_v(out_BCHW, x_BCHW, alpha_at(alpha_T, t_B))


def eps_of_v(v_BCHW: Tensor, x_BCHW: Tensor, alpha_B111: Tensor) -> Tensor:
    """eps of a network that predicts v = sqrt(alpha) eps - sqrt(1 - alpha) x_0 (Salimans and Ho
    2022): eps = sqrt(alpha) v + sqrt(1 - alpha) x_t."""
    a = alpha_B111.to(x_BCHW.dtype)
    eps: Tensor = a.sqrt() * v_BCHW + (1 - a).sqrt() * x_BCHW
    return eps
