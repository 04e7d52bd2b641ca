"""LoRA of single images (Hu et al. 2022): low-rank weights fitted to each image, in batches.

Letters in tensor names: R rows of a call, P positions, i and o the sizes of a linear map, r the
rank; else as in sde_edit/api.

code          Hu et al. 2022
A, B          A, B; in the names of weights lora_A, lora_B, as in peft and diffusers
scale         alpha / r
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from sde_edit.api.model import Adapter, LoraSettings, Scale
from sde_edit.diffusion import host
from sde_edit.diffusion.noise import Noise

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1  # of the results of `fit`; part of the cache key
A, B = "lora_A", "lora_B"  # to the rank, and back
_WEIGHT_DECAY = 1e-2
Weights = Mapping[str, "Tensor"]  # name of A or B of a layer -> [B, o, i], of each example
Rows = Mapping[str, "Tensor"]  # the same name -> [R, i, o], of each row of a call


@dataclass(frozen=True)
class Loras:
    """The LoRAs of a batch, and their scale at each time."""

    weights: Weights
    scale: Scale

    def of_rows(self, rows: int) -> Rows:
        """The weights of each row of a call, of which row r belongs to example r mod B."""
        return {
            name: weight.mT.expand(rows // len(weight), -1, -1, -1).flatten(0, 1)
            for name, weight in self.weights.items()
        }


class AdaptedDenoiser(Protocol):
    """eps(x_t, t) of the network with these LoRAs, one time per row."""

    def __call__(self, x_BCHW: Tensor, t_B: Tensor, weights: Weights) -> Tensor: ...


def fit(
    sizes: Mapping[str, tuple[int, int]],
    eps: AdaptedDenoiser,
    x_0_BCHW: Tensor,
    alpha_T: Tensor,
    settings: LoraSettings,
    noise: Noise,
) -> list[Adapter]:
    """Fit a LoRA to each image with AdamW; the result does not depend on the other images.

    The loss is the network's training loss, |eps(x_t, t) - eps|^2 averaged over the latent, with
    one random time and one noise per step. A is initialised as normal / rank, B as 0. Computed in
    float32, or in float64 for float64 latents, whatever the network's dtype.

    sizes: name of a weight -> its (o, i).
    """
    with torch.inference_mode(False), torch.enable_grad():
        x_0 = x_0_BCHW.clone()  # inference tensors cannot take part in autograd
        weights = _first_weights(sizes, x_0, noise)
        adam = torch.optim.AdamW(weights.values(), settings.rate, weight_decay=_WEIGHT_DECAY)
        for step in range(settings.steps):
            adam.zero_grad()
            t_B, e = _times(x_0, len(alpha_T), noise, step), noise.like(x_0, "lora", step)
            a = alpha_T[t_B].to(x_0).view(-1, 1, 1, 1)
            error = eps(a.sqrt() * x_0 + (1 - a).sqrt() * e, t_B, weights) - e
            torch.autograd.backward(error.square().sum())
            for weight in weights.values():  # not a mean loss: float16 may underflow
                assert weight.grad is not None
                weight.grad /= x_0[0].numel()
            adam.step()
    return unstack_adapters(weights)


def _first_weights(
    sizes: Mapping[str, tuple[int, int]], x_0_BCHW: Tensor, noise: Noise
) -> dict[str, Tensor]:
    first = {}
    for name, size in sizes.items():
        zeros = x_0_BCHW.new_zeros(len(x_0_BCHW), *size)
        to_rank = name.endswith(A)
        weight = noise.like(zeros, f"lora {name}") / size[0] if to_rank else zeros
        first[name] = weight.requires_grad_()
    return first


def _times(x_0_BCHW: Tensor, T: int, noise: Noise, step: int) -> Tensor:
    """A time for each image, uniform in 0 .. T-1."""
    normal = noise.like(x_0_BCHW.new_zeros(len(x_0_BCHW), 1), "lora time", step).flatten()
    times: Tensor = (T * torch.special.ndtr(normal)).long()
    return times.clamp(max=T - 1)


def stack_adapters(adapters: Sequence[Adapter], like: Tensor) -> dict[str, Tensor]:
    """The stacked weights of a batch, on the device and in the dtype of `like`."""
    with torch.inference_mode(False):
        return {
            name: torch.stack([adapter[name] for adapter in adapters]).to(like)
            for name in adapters[0]
        }


def unstack_adapters(weights: Weights) -> list[Adapter]:
    """The weights of each example, on the CPU."""
    parts = {name: torch.from_numpy(host.read(weight)).unbind() for name, weight in weights.items()}
    return [dict(zip(parts, own, strict=True)) for own in zip(*parts.values(), strict=True)]
