"""The interfaces of models, before and after their weights are loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from sde_edit.api.citation import Citation
from sde_edit.api.observer import Observer
from sde_edit.diffusion.denoiser import Denoiser

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sde_edit.diffusion.noise import Noise
    from sde_edit.diffusion.schedule import Schedule

Adapter = Mapping[str, "Tensor"]  # name -> weights of the LoRA of one image
Scale = Callable[["Tensor"], "Tensor"]  # times [R] -> the factor of the LoRA at each


class Model(Protocol):
    """A loaded diffusion model with its autoencoder."""

    evaluations: int  # rows that the network has evaluated; guidance costs two rows
    calls: int  # calls of the network so far, each with a batch of rows
    observer: Observer  # is told of every call of the network
    device: torch.device
    state_dtype: torch.dtype  # of the sampler's state: float32, or float64 for float64 weights

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of a latent of the image size for which the model was made."""

    @property
    def factor(self) -> int | None:
        """The sides of images must be multiples of it; None: only the model's own size."""

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the latent of an image of height x width pixels, rounded up to the factor."""

    def encode(self, images_BHWC: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> float32 latents [B, C, h, w]."""

    def decode(self, x_BCHW: Tensor) -> Tensor:
        """Latents [B, C, h, w] -> uint8 [B, H, W, 3] on the CPU, rounded.

        Raises NotFiniteError if a value is NaN or infinite.
        """

    def denoiser(
        self,
        prompts: Sequence[str],
        guidance: float,
        negatives: Sequence[str] = (),
        hints_BHWC: Tensor | None = None,
    ) -> Denoiser:
        """eps with one prompt per row; guidance 1 evaluates the prompt alone.

        negatives: the prompts that guidance leads away from, one per row; () means "" for all.
        hints: uint8 [B, H, W, 3] for the control net.
        Raises UserError for a prompt or a guidance that the model does not know, for hints without
        a control net, and for a control net without hints.
        """


class AttentionControl(Protocol):
    """Replaces the attention processors of a network during a call."""

    def processor(self, layer: str, plain: Any) -> Any:
        """The replacement for `plain`, the processor of that layer."""


@runtime_checkable
class AttentionAccess(Model, Protocol):
    """A model that gives access to its text embeddings, attention and features."""

    prompt_tokens: int  # K, tokens of every prompt: start, words, end, padding

    @property
    def up_blocks(self) -> int:
        """The number of up blocks of its UNet."""

    @property
    def cross_attention_cells(self) -> Collection[int]:
        """The sides of a position of the maps of its cross-attention, in cells of the latent."""

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings [B, K, D], for `attend` and `features`.

        A model may add rows of its own after those of the K tokens.
        """

    def word_tokens(self, prompt: str) -> list[list[int]]:
        """Token ids of each word; blanks separate words. The last may not fit in K tokens."""

    def attend(
        self,
        x_BCHW: Tensor,
        t_B: Tensor,
        text_BKD: Tensor,
        control: AttentionControl | None = None,
    ) -> Tensor:
        """eps under these embeddings, without guidance, with the attention changed by `control`."""

    def features(
        self, x_BCHW: Tensor, t_B: Tensor, text_BKD: Tensor, block: int
    ) -> tuple[Tensor, Tensor]:
        """eps as `attend` gives it, and the output of up block `block` (0 the lowest).

        Both are in the dtype of x, and gradients with respect to x flow through both.
        """


@runtime_checkable
class SupportsLora(Model, Protocol):
    """A model whose network can be fitted to single images with low-rank weights (LoRA)."""

    def fit_lora(
        self, x_BCHW: Tensor, prompts: Sequence[str], settings: LoraSettings, noise: Noise
    ) -> list[Adapter]:
        """Fit a LoRA to each image, given its latent [B, C, h, w] and its prompt."""

    def adapted(self, adapters: Sequence[Adapter], scale: Scale) -> AbstractContextManager[None]:
        """Context manager: row r uses adapter r mod B, scaled by scale(t)."""


@runtime_checkable
class DomainFeatures(Model, Protocol):
    """A model with a classifier of noisy images, whose features tell domains apart."""

    def domain_features(self, x_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """The last features before the classifier pools them: [B, D, h', w'], in the dtype of x.

        Gradients with respect to x flow through them. Not counted as an evaluation.
        """


class ModelSource(Protocol):
    """The settings of a model, and what is known before its weights are loaded."""

    citation: ClassVar[Citation | None]  # None only for what no paper describes

    @property
    def resolution(self) -> int:
        """The side of the square images for which it was made, in pixels."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of such an image's latent. Raises UserError as `digest` does."""

    @property
    def factor(self) -> int | None:
        """As in `Model`. Raises UserError as `digest` does."""

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """As in `Model`. Raises UserError as `digest` does."""

    def schedule(self) -> Schedule:
        """alpha_bar at every train time. Raises UserError as `digest` does."""

    def digest(self) -> str:
        """The digest of the weights. Raises UserError with a remedy if they are not available."""

    def load(self, device: str, dtype: str, compile: bool = False) -> Model:
        """The model on a device, with the network in `dtype`, such as bfloat16.

        compile: compile the network. This gives the same images up to rounding; the first calls of
        the network take long. Raises UserError as `digest` does, and for an unknown dtype.
        """


@runtime_checkable
class Countable(Protocol):
    """The settings of a model whose operations can be counted before its weights are loaded."""

    def without_weights(self) -> Callable[[], object]:
        """A function that evaluates one row of the bare network on torch's meta device.

        That device has shapes and no numbers. Raises UserError as `digest` does.
        """


@dataclass(frozen=True)
class PromptReading:
    """What a text encoder does not take from a prompt."""

    cut: str  # the end of the prompt, which is beyond the encoder's limit; "" if it is read whole
    unknown: str  # characters that the tokenizer does not know, each once


@runtime_checkable
class ReadsPrompts(Protocol):
    """The source of a model whose prompts are sentences, which its tokenizer may cut."""

    def read_prompts(self, prompts: Sequence[str]) -> list[PromptReading]:
        """How each prompt is read; loads the tokenizer alone. Raises UserError as `digest` does."""


@dataclass(frozen=True)
class LoraSettings:
    """How a LoRA is fitted: its rank, the learning rate of AdamW, and the number of its steps."""

    rank: int
    rate: float
    steps: int
