"""Latent diffusion in Stable Diffusion's folder layout: its files and the loaded pipeline.

Letters in tensor names: as in sde_edit/api; K tokens of a prompt, D their size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from sde_edit.api.model import Adapter, AttentionControl, LoraSettings, PromptReading, Scale
from sde_edit.diffusion.denoiser import Denoiser
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.networks.attention import controlled
from sde_edit.networks.base import Network, eps_of_prediction, refuse_hints, to_levels
from sde_edit.networks.checkpoints import (
    blank,
    load_network,
    read_config,
    read_scheduler,
    weights_of,
)
from sde_edit.networks.lora import Loras, Rows, Weights, fit, stack_adapters
from sde_edit.networks.pipeline_files import (
    SCHEDULER,
    STABLE_DIFFUSION,
    TEXT_ENCODER,
    UNET,
    VAE,
    Layout,
    PipelineFiles,
    check_pipeline,
    latent_factor,
    latent_shape,
    latent_size,
)
from sde_edit.networks.prompts import load_tokenizer, read_prompts, token_ids
from sde_edit.registry import Count, Text

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LatentSource:
    """The files of a pipeline: UNet, autoencoder, text encoders, tokenizers, scheduler config.

    path: a folder in diffusers layout, a hub id, or `embedded:NAME` for a model shipped in this
    package. The run id holds the digest of the files, not the path.
    """

    path: Text = field(metadata={"identity": False})
    resolution: Count
    layout: ClassVar[Layout] = STABLE_DIFFUSION

    @property
    def files(self) -> PipelineFiles:
        return PipelineFiles(self.path, layout=self.layout)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return latent_shape(self.files.folder(), self.resolution)

    @property
    def factor(self) -> int:
        return latent_factor(self.files.folder())

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        return latent_size(height, width, self.factor)

    def schedule(self) -> Schedule:
        return read_scheduler(self.files.folder() / SCHEDULER)[0]

    def digest(self) -> str:
        """The digest of all files that decide the images. Raises UserError for a pipeline that
        cannot be used, and for a resolution that its autoencoder cannot give.
        """
        latent_shape(self.files.folder(), self.resolution)
        return self.files.digest()

    def without_weights(self) -> Callable[[], object]:
        return partial(self._blank_unet(), *self._blank_row())

    def _blank_unet(self) -> Any:
        """The UNet on torch's meta device: its layers and shapes alone."""
        from diffusers import UNet2DConditionModel

        return blank(UNet2DConditionModel, self.files.folder() / "unet")

    def _blank_row(self) -> tuple[Tensor, Tensor, Tensor]:
        """A latent, its time and its text on torch's meta device."""
        text = read_config(self.files.folder() / "text_encoder" / "config.json")
        shapes = (
            (1, *self.latent_shape),
            (1,),
            (1, text["max_position_embeddings"], text["hidden_size"]),
        )
        x, t, embedding = (torch.empty(shape, device="meta") for shape in shapes)
        return x, t, embedding

    def read_prompts(self, prompts: Sequence[str]) -> list[PromptReading]:
        """How each prompt is read. Raises UserError for a tokenizer that cannot be read."""
        return read_prompts(load_tokenizer(self.files.folder()), prompts)


class LoadedStableDiffusion(Network):
    """The pipeline on its device, loaded only from safetensors. Its state is scaled latents."""

    layout: ClassVar[Layout] = STABLE_DIFFUSION

    def __init__(
        self,
        folder: Path,
        resolution: int,
        device: torch.device,
        dtype: torch.dtype,
        compile: bool = False,
    ) -> None:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers.utils import logging

        from sde_edit.networks.lora_layers import LoraUNet  # reads torch

        super().__init__(device, dtype)
        logging.disable_progress_bar()  # it would show one for each component
        check_pipeline(folder, self.layout)
        self._load_text(folder)
        unet = _part(UNet2DConditionModel, folder, UNET, dtype)
        unet.requires_grad_(False)  # only embeddings and latents get gradients
        self._lora_unet = self._placed(LoraUNet(unet), compile=compile)
        self.unet, self._compiled = self._placed(unet, compile=compile), compile
        self._loras: Loras | None = None
        self.vae = self._placed(_part(AutoencoderKL, folder, VAE, self._vae_dtype(folder)))
        self.latent_shape, self.factor = latent_shape(folder, resolution), latent_factor(folder)
        self.prompt_tokens: int = self.tokenizer.model_max_length
        schedule, self.prediction = read_scheduler(folder / SCHEDULER)
        self.alpha_T = torch.tensor(schedule.alpha, dtype=torch.float64, device=device)

    def _load_text(self, folder: Path) -> None:
        """Load what turns prompts into embeddings."""
        from transformers import CLIPTextModel

        self.text_encoder = self._text_encoder(CLIPTextModel, folder, TEXT_ENCODER)
        self.tokenizer = load_tokenizer(folder)

    def _text_encoder(self, cls: Any, folder: Path, stem: str) -> Any:
        return self._placed(_part(cls, folder, stem, self.dtype))

    def _vae_dtype(self, folder: Path) -> torch.dtype:
        """The dtype of the autoencoder."""
        return self.dtype

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        return latent_size(height, width, self.factor)

    def encode(self, images_BHWC: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> scaled posterior means, float [B, 4, H/f, W/f]."""
        pixels = images_BHWC.to(self.device).permute(0, 3, 1, 2)  # bytes over the bus
        x = pixels.to(self.vae.dtype) / 127.5 - 1
        mean = self.vae.encode(x).latent_dist.mean
        scaled: Tensor = mean.to(self.state_dtype) * self.vae.config.scaling_factor
        return scaled

    def decode(self, x_BCHW: Tensor) -> Tensor:
        """float [B, 4, h, w] -> uint8 [B, f h, f w, 3] on the CPU, rounded and not floored.

        Raises NotFiniteError if the latents or the pixels are not finite.
        """
        z = (x_BCHW.to(self.state_dtype) / self.vae.config.scaling_factor).to(self.vae.dtype)
        return to_levels(self.vae.decode(z).sample, self.dtype)

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings [B, K, D]; each distinct prompt is encoded once."""
        distinct = list(dict.fromkeys(prompts))
        rows = [distinct.index(prompt) for prompt in prompts]
        return self._encoded(distinct)[rows]

    def _encoded(self, prompts: Sequence[str]) -> Tensor:
        ids = token_ids(self.tokenizer, prompts).to(self.device)
        hidden: Tensor = self.text_encoder(ids).last_hidden_state
        return hidden

    def denoiser(
        self,
        prompts: Sequence[str],
        guidance: float,
        negatives: Sequence[str] = (),
        hints_BHWC: Tensor | None = None,
    ) -> Denoiser:
        """eps with one prompt per row; the null condition is its negative."""
        refuse_hints(hints_BHWC)
        text = self.embed(prompts)
        return self._guided((text,), (self.embed(negatives or [""] * len(prompts)),), guidance)

    def word_tokens(self, prompt: str) -> list[list[int]]:
        """Token ids of each word; blanks separate words, as in the tokenizer."""
        return [self.tokenizer(word, add_special_tokens=False).input_ids for word in prompt.split()]

    def attend(
        self,
        x_BCHW: Tensor,
        t_B: Tensor,
        text_BKD: Tensor,
        control: AttentionControl | None = None,
    ) -> Tensor:
        """eps under these embeddings, without guidance, with the attention changed by `control`."""
        with ExitStack() as stack:
            if control:
                stack.enter_context(controlled(self.unet, control))
                stack.enter_context(self._eager())
            return self._network(x_BCHW, t_B, text_BKD.to(self.dtype))

    @property
    def up_blocks(self) -> int:
        return len(self.unet.up_blocks)

    @property
    def cross_attention_cells(self) -> set[int]:
        """Down block i works on positions of 2^i cells on a side, the middle one as the last, and
        the up blocks on those of the down blocks in reverse.
        """
        down = list(self.unet.down_blocks)
        blocks = [*down, self.unet.mid_block, *self.unet.up_blocks]
        levels = [*range(len(down)), len(down) - 1, *reversed(range(len(down)))]
        both = zip(blocks, levels, strict=True)
        return {2**i for block, i in both if getattr(block, "has_cross_attention", False)}

    def features(
        self, x_BCHW: Tensor, t_B: Tensor, text_BKD: Tensor, block: int
    ) -> tuple[Tensor, Tensor]:
        """eps as `attend` gives it, and the output of up block `block` (0 the lowest).

        Both are in the dtype of x, and gradients with respect to x flow through both.
        """
        with self._eager(), _collected_outputs(self.unet.up_blocks[block]) as outputs:
            eps = self.attend(x_BCHW, t_B, text_BKD)
        return eps, outputs[0].to(x_BCHW.dtype)

    def _eager(self) -> AbstractContextManager[None]:
        """Context manager without compiled graphs, which ignore replaced layers and hooks."""
        return torch.compiler.set_stance("force_eager") if self._compiled else nullcontext()

    def fit_lora(
        self, x_BCHW: Tensor, prompts: Sequence[str], settings: LoraSettings, noise: Noise
    ) -> list[Adapter]:
        """The LoRA of each image; each backpropagation counts as one evaluation per row."""
        with torch.inference_mode(False), torch.no_grad():
            text_BKD = self.embed(prompts)  # made outside inference mode, for autograd

        def eps(x_BCHW: Tensor, t_B: Tensor, weights: Weights) -> Tensor:
            self.evaluations += len(x_BCHW)
            with self._adapted(Loras(weights, torch.ones_like)):
                return self.attend(x_BCHW, t_B, text_BKD)

        sizes = self._lora_unet.sizes(settings.rank)
        with self._eager():
            return fit(sizes, eps, x_BCHW, self.alpha_T, settings, noise)

    @contextmanager
    def adapted(self, adapters: Sequence[Adapter], scale: Scale) -> Iterator[None]:
        """Context manager: row r uses adapter r mod B, scaled by scale(t)."""
        like = torch.empty((), dtype=self.dtype, device=self.device)
        with self._adapted(Loras(stack_adapters(adapters, like), scale)):
            yield

    @contextmanager
    def _adapted(self, loras: Loras) -> Iterator[None]:
        self._loras = loras
        try:
            yield
        finally:
            self._loras = None

    def _predict(self, x_BCHW: Tensor, t_B: Tensor, *condition: Tensor) -> Tensor:
        out = self._unet(self._as_input(x_BCHW), t_B, *condition).to(x_BCHW.dtype)
        return eps_of_prediction(out, x_BCHW, t_B, prediction=self.prediction, alpha_T=self.alpha_T)

    def _unet(self, x_BCHW: Tensor, t_B: Tensor, *condition: Tensor) -> Tensor:
        """The output of the network, in its own dtype; the condition is (text_BKD,)."""
        (text_BKD,) = condition
        return self._call_unet(x_BCHW, t_B, text_BKD)

    def _call_unet(self, x_BCHW: Tensor, t_B: Tensor, text_BKD: Tensor, **named: Any) -> Tensor:
        """The UNet, with the LoRA of each row while there are any. named: its further arguments."""
        given, named = (x_BCHW, t_B, text_BKD), named | {"return_dict": False}
        if self._loras is None:
            out: Tensor = self.unet(*given, **named)[0]
        else:
            scale_B = self._loras.scale(t_B).to(x_BCHW)
            out = self._lora_unet(self._rows(len(t_B)), scale_B, *given, **named)[0]
        return out

    def _rows(self, rows: int) -> Rows:
        """The LoRA of each row of a call."""
        assert self._loras
        own = self._loras.of_rows(rows)
        if self._compiled and not torch.is_grad_enabled():  # a graph knows one layout in memory
            own = {name: weight.contiguous() for name, weight in own.items()}
        return own


def _part(cls: Any, folder: Path, stem: str, dtype: torch.dtype) -> Any:
    """A network of a pipeline, as `load_network` loads it. stem: such as `UNET`."""
    return load_network(cls, weights_of(folder, stem, f"model.path={folder}"), dtype)


@contextmanager
def _collected_outputs(module: Any) -> Iterator[list[Tensor]]:
    """Context manager: yields a list that collects the outputs of a module."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _given, out: outputs.append(out))
    try:
        yield outputs
    finally:
        handle.remove()
