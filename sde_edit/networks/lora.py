"""LoRA of single images: low-rank weights fitted to each image, in batches.

peft's layers do the work. Only the two linear maps in each layer are ours: they hold separate
weights for every example, so that images with different LoRAs can share a call.

Letters in tensor names: R rows of a call, P positions; else as in sde_edit/api.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from sde_edit.api.model import Adapter, LoraSettings, Scale
from sde_edit.diffusion import host
from sde_edit.diffusion.denoiser import Denoiser
from sde_edit.diffusion.noise import Noise

if TYPE_CHECKING:
    from torch import Tensor, nn

VERSION = 1  # of the results of `fit`; part of the cache key
_NAME = "image"
_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
_PARTS = ("lora_A", "lora_B")  # to the rank, and back
_WEIGHT_DECAY = 1e-2
_Weights = Mapping[str, "Tensor"]  # name of a map -> [B, out, in]


class LoraLayers:
    """Adds a LoRA, switched off, to each attention projection of a diffusers UNet.

    While the LoRAs are switched off, the network gives the same bits as without them.
    """

    def __init__(self, unet: Any) -> None:
        from peft import LoraConfig
        from peft.tuners.lora import LoraLayer

        with torch.random.fork_rng(devices=[]):  # peft draws weights, which `attached` replaces
            unet.add_adapter(LoraConfig(target_modules=list(_TARGETS)), _NAME)
        unet.disable_adapters()
        self._unet = unet
        self._layers = {n: m for n, m in unet.named_modules() if isinstance(m, LoraLayer)}

    def sizes(self, rank: int) -> dict[str, tuple[int, int]]:
        """Name of a linear map -> its (out, in)."""
        return {
            f"{name}.{part}": size
            for name, layer in self._layers.items()
            for part, size in zip(
                _PARTS, [(rank, layer.in_features), (layer.out_features, rank)], strict=True
            )
        }

    @contextmanager
    def attached(
        self, weights: _Weights, scale: Scale, *, fit: bool = False
    ) -> Iterator[dict[str, nn.Parameter]]:
        """Context manager: the LoRA is active, scaled by scale(t) in each row.

        It yields the parameters by name; they have gradients if `fit`.
        """
        from sde_edit.networks.per_example import PerExample  # reads torch

        def rescale(_unet: Any, given: tuple[Tensor, ...]) -> None:
            x_RCHW, t_R, *_ = given
            factor_R11 = scale(t_R).to(x_RCHW).view(-1, 1, 1)
            for layer in self._layers.values():
                layer.scaling[_NAME] = factor_R11

        for name, layer in self._layers.items():
            for part in _PARTS:
                getattr(layer, part)[_NAME] = PerExample(weights[f"{name}.{part}"])
        hook = self._unet.register_forward_pre_hook(rescale)
        self._unet.enable_adapters()
        try:
            parameters = self._parameters()
            for parameter in parameters.values():
                parameter.requires_grad_(fit)
            yield parameters
        finally:
            self._unet.disable_adapters()
            hook.remove()

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {
            f"{name}.{part}": getattr(layer, part)[_NAME].weight
            for name, layer in self._layers.items()
            for part in _PARTS
        }


def fit(
    layers: LoraLayers,
    eps: Denoiser,
    x_0_BCHW: Tensor,
    alpha_T: Tensor,
    settings: LoraSettings,
    noise: Noise,
) -> list[Adapter]:
    """Fit a LoRA to each image with AdamW; the result does not depend on the other images.

    The loss is the network's training loss, |eps(x_t, t) - eps|^2 averaged over the latent, with
    one random time and one noise per step. A is initialised as normal / rank, B as 0. Computed in
    float32, or in float64 for float64 latents, whatever the network's dtype.
    """

    def ones(t_R: Tensor) -> Tensor:
        return torch.ones_like(t_R)

    with torch.inference_mode(False), torch.enable_grad():
        x_0 = x_0_BCHW.clone()  # inference tensors cannot take part in autograd
        first = _first_weights(layers.sizes(settings.rank), x_0, noise)
        with layers.attached(first, ones, fit=True) as weights:
            adam = torch.optim.AdamW(weights.values(), settings.rate, weight_decay=_WEIGHT_DECAY)
            for step in range(settings.steps):
                adam.zero_grad()
                t_B, e = _times(x_0, len(alpha_T), noise, step), noise.like(x_0, "lora", step)
                a = alpha_T[t_B].to(x_0).view(-1, 1, 1, 1)
                error = eps(a.sqrt() * x_0 + (1 - a).sqrt() * e, t_B) - e
                torch.autograd.backward(error.square().sum())
                for weight in weights.values():  # not a mean loss: float16 may underflow
                    assert weight.grad is not None
                    weight.grad /= x_0[0].numel()
                adam.step()
    return unstack_adapters({name: weight.detach() for name, weight in weights.items()})


def _first_weights(
    sizes: Mapping[str, tuple[int, int]], x_0_BCHW: Tensor, noise: Noise
) -> dict[str, Tensor]:
    first = {}
    for name, size in sizes.items():
        zeros = x_0_BCHW.new_zeros(len(x_0_BCHW), *size)
        down = name.endswith(_PARTS[0])
        first[name] = noise.like(zeros, f"lora {name}") / size[0] if down else zeros
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


def unstack_adapters(weights: _Weights) -> list[Adapter]:
    """The weights of each example, on the CPU."""
    parts = {name: torch.from_numpy(host.read(weight)).unbind() for name, weight in weights.items()}
    return [dict(zip(parts, own, strict=True)) for own in zip(*parts.values(), strict=True)]
