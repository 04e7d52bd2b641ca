"""A Gaussian mixture, whose eps is known in closed form, so without the error of a network.

code    meaning (x_0 ~ sum_k w_k N(m_k, s_k^2 I), so x_t ~ sum_k w_k N(sqrt(a) m_k, v_k I))
a       alpha_bar at t
v       v_k = a s_k^2 + 1 - a
r       r_k, the probability that x_t came from component k
K, D    components, and C h w
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field

from sde_edit.diffusion.denoiser import Denoiser
from sde_edit.diffusion.schedule import Schedule
from sde_edit.errors import UserError, shortened
from sde_edit.networks.base import PixelNetwork, alpha_at, dtype_of, pixel_size, refuse_hints
from sde_edit.registry import plugin, strict, suggest

if TYPE_CHECKING:
    from torch import Tensor

Beta = Annotated[float, Field(gt=0, lt=1)]


@strict
@dataclass(frozen=True)
class Component:
    """One Gaussian. name: its class. mean: one number, one per channel, or all C h w numbers."""

    name: str
    mean: float | tuple[float, ...]
    sd: float
    weight: float = 1.0


@plugin
@dataclass(frozen=True)
class GMM:
    """A mixture with classes, for tests of samplers against the exact result.

    The components of a class share a name. A prompt selects the components of that name; "" selects
    the whole mixture.

    shape: (C, h, w) of the state, which is an image in [-1, 1] if C = 3 and h = w; [d, 1, 1] for
    vectors.
    beta_schedule, beta_start, beta_end, train_times: the noise schedule, as `beta_*` and
    `num_train_timesteps` in diffusers' scheduler configs.
    """

    shape: tuple[int, int, int]
    components: tuple[Component, ...]
    beta_schedule: Literal["linear", "scaled_linear"] = "linear"
    beta_start: Beta = 1e-4
    beta_end: Beta = 0.02
    train_times: Annotated[int, Field(ge=2, le=1_000_000)] = 1000
    version: ClassVar[int] = 1
    citation: ClassVar[None] = None

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise UserError(f"model.shape={list(self.shape)}: must be three positive numbers")
        if not self.components:
            raise UserError("model.components: there must be at least one")
        for i, part in enumerate(self.components):
            self._check(part, f"model.components[{i}]")

    def _check(self, part: Component, key: str) -> None:
        channels, size = self.shape[0], math.prod(self.shape)
        if isinstance(part.mean, tuple) and len(part.mean) not in (channels, size):
            raise UserError(
                f"{key}.mean has {len(part.mean)} numbers: give one, {channels} or {size}"
            )
        if not part.name:
            raise UserError(f'{key}.name="": the empty prompt stands for the whole mixture')
        if part.sd < 0 or part.weight <= 0:
            raise UserError(f"{key}: sd must not be negative, weight must be positive")

    @property
    def resolution(self) -> int:
        return self.shape[1]

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return self.shape

    @property
    def factor(self) -> None:
        """Its means are images of one size."""

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        return pixel_size(height, width, self)

    def schedule(self) -> Schedule:
        return Schedule.from_betas(
            self.beta_schedule, self.beta_start, self.beta_end, self.train_times
        )

    def digest(self) -> str:
        """The digest of all settings, which are the weights of this model."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def load(self, device: str, dtype: str, compile: bool = False) -> LoadedGMM:
        """It computes in float64; dtype sets the dtype of the state. Nothing is compiled."""
        return LoadedGMM(self, torch.device(device), dtype_of(dtype))


class LoadedGMM(PixelNetwork):
    """The mixture as tensors on a device."""

    def __init__(self, source: GMM, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(device, dtype)
        self.latent_shape, self.factor = source.shape, source.factor
        self.names = [part.name for part in source.components]
        parts = source.components
        self.alpha_T = self._constant(source.schedule().alpha)
        self.mean_KD = torch.stack([_mean(part.mean, source.shape) for part in parts]).to(device)
        self.variance_K = self._constant([part.sd**2 for part in parts])
        self.log_weight_K = self._constant([part.weight for part in parts]).log()

    def _constant(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=self.device)

    def encode(self, images_BHWC: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> float [B, 3, H, W] in [-1, 1]. Raises UserError for other sizes."""
        x = super().encode(images_BHWC)
        if x.shape[1:] != self.latent_shape:
            raise UserError(
                f"images of {tuple(x.shape[1:])} (C, h, w) for model.shape={self.latent_shape}"
            )
        return x

    def denoiser(
        self,
        prompts: Sequence[str],
        guidance: float,
        negatives: Sequence[str] = (),
        hints_BHWC: Tensor | None = None,
    ) -> Denoiser:
        """eps of the class that each prompt names. Raises UserError for an unknown class."""
        refuse_hints(hints_BHWC)
        cond = torch.stack([self._chosen(prompt) for prompt in prompts])
        null = torch.stack([self._chosen(p) for p in negatives or [""] * len(prompts)])
        return self._guided((cond,), (null,), guidance)

    def _chosen(self, prompt: str) -> Tensor:
        """Log weights [K] of the components of a class, -inf for the others."""
        if prompt and prompt not in self.names:
            known = suggest(prompt, list(dict.fromkeys(self.names)))
            raise UserError(f"prompt {shortened(prompt, 100)!r} is no class of the model.{known}")
        others = [bool(prompt) and name != prompt for name in self.names]
        return self.log_weight_K.masked_fill(torch.tensor(others, device=self.device), -math.inf)

    def _predict(self, x_BCHW: Tensor, t_B: Tensor, *condition: Tensor) -> Tensor:
        """eps = -sqrt(1 - a) grad log q_t = sqrt(1 - a) sum_k r_k (x - sqrt(a) m_k) / v_k."""
        (log_weight_BK,) = condition
        a_B1 = alpha_at(self.alpha_T, t_B).flatten(1)
        x_B1D = x_BCHW.double().flatten(1)[:, None]
        away_BKD = x_B1D - a_B1.sqrt()[..., None] * self.mean_KD
        v_BK = a_B1 * self.variance_K + 1 - a_B1
        d = away_BKD.shape[2]
        log_r_BK = log_weight_BK - d / 2 * v_BK.log() - away_BKD.square().sum(2) / (2 * v_BK)
        r_over_v_BK = log_r_BK.softmax(1) / v_BK
        eps = (1 - a_B1).sqrt() * torch.einsum("bk,bkd->bd", r_over_v_BK, away_BKD)
        return eps.view_as(x_BCHW).to(x_BCHW.dtype)


def _mean(mean: float | tuple[float, ...], shape: tuple[int, int, int]) -> Tensor:
    """The mean as float64 [D], from one number, one per channel, or all D."""
    values = torch.tensor(mean, dtype=torch.float64)
    if values.numel() in (1, shape[0]):
        values = values.view(-1, 1, 1).expand(shape)
    return values.reshape(-1)
