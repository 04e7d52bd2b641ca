"""What a model owes, before its weights are loaded and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sde_edit.diffusion.denoiser import Denoiser

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sde_edit.diffusion.noise import Noise
    from sde_edit.diffusion.schedule import Schedule

Adapter = Mapping[str, "Tensor"]  # the weights of a LoRA, of one image, by name
Scale = Callable[["Tensor"], "Tensor"]  # how much a LoRA counts at each of some times


class Model(Protocol):
    """A loaded diffusion model with its autoencoder."""

    evaluations: int  # rows that went through the network so far; guidance costs two rows
    calls: int  # calls of the network so far, each a batch of rows
    rows_at_once: int  # latents that one call of the network may hold, guidance not counted
    device: torch.device
    state_dtype: torch.dtype  # of the sampler's state: float32, or float64 for float64 weights

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of a latent."""

    def encode(self, images_BHWC: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> float32 latents [B, C, h, w]."""

    def decode(self, x_BCHW: Tensor) -> Tensor:
        """Latents -> uint8 [B, H, W, 3], rounded."""

    def denoiser(
        self,
        prompts: Sequence[str],
        guidance: float,
        negatives: Sequence[str] = (),
        hints_BHWC: Tensor | None = None,
    ) -> Denoiser:
        """eps with one prompt per row; guidance 1 evaluates the prompt alone.

        negatives: what guidance leads away from, one per row; () is "" for all.

        hints: uint8 [B, H, W, 3] for the control net. Raises UserError for a prompt or a guidance
        that the model does not know, for hints without a control net, and the other way round.
        """


class AttentionControl(Protocol):
    """Replaces the attention processors of a network while a call lasts."""

    def processor(self, layer: str, plain: Any) -> Any:
        """What stands in for `plain`, the processor of that layer."""


@runtime_checkable
class Attentive(Model, Protocol):
    """A model whose text embeddings, attention and features can be had and changed."""

    prompt_tokens: int  # K, tokens of every prompt: start, words, end, padding

    @property
    def up_blocks(self) -> int:
        """How many its UNet has."""

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings [B, K, D]."""

    def word_tokens(self, prompt: str) -> list[list[int]]:
        """Token ids of each word, words being what blanks separate. K may cut off the last."""

    def attend(
        self,
        x_BCHW: Tensor,
        t_B: Tensor,
        text_BKD: Tensor,
        control: AttentionControl | None = None,
    ) -> Tensor:
        """eps under these embeddings, without guidance, its attention as `control` says."""

    def features(
        self, x_BCHW: Tensor, t_B: Tensor, text_BKD: Tensor, block: int
    ) -> tuple[Tensor, Tensor]:
        """eps as `attend` gives it, and what up block `block` (0 the lowest) gives on the way, in
        the dtype of x. Gradients to x go through both."""


@runtime_checkable
class Adaptable(Model, Protocol):
    """A model whose network can be fitted to single images by low-rank weights (LoRA)."""

    def fit_lora(
        self, x_BCHW: Tensor, prompts: Sequence[str], settings: LoraSettings, noise: Noise
    ) -> list[Adapter]:
        """The LoRA of each image, of these latents under these prompts."""

    def adapted(self, adapters: Sequence[Adapter], scale: Scale) -> AbstractContextManager[None]:
        """Until it is left, row r of a call has the LoRA r mod B, `scale` times at its time."""


class ModelSource(Protocol):
    """The settings of a model: what can be known of it before its weights are loaded."""

    @property
    def resolution(self) -> int:
        """Side of the square images it works on, in pixels."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of the state, as the loaded model has it. Raises UserError as `digest` does."""

    def schedule(self) -> Schedule: ...

    def digest(self) -> str:
        """Of the weights. Raises UserError with the remedy where they cannot be had."""

    def load(self, device: str, dtype: str, compile: bool = False) -> Model:
        """`compile` the network, for the same images up to rounding; its first calls take long."""


@dataclass(frozen=True)
class LoraSettings:
    """steps of AdamW at that rate, for a LoRA of that rank."""

    rank: int
    rate: float
    steps: int
