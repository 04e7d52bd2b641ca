"""Stable Diffusion XL: two text encoders, a pooled embedding, and sizes as a condition.

Letters in tensor names: as in sde_edit/networks/latent_diffusion.py; P numbers of the pooled
embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.model import PromptReading
from sde_edit.errors import UserError
from sde_edit.networks.base import dtype_of
from sde_edit.networks.checkpoints import read_config, read_switch
from sde_edit.networks.latent_diffusion import LatentSource, LoadedStableDiffusion
from sde_edit.networks.pipeline_files import (
    INDEX,
    STABLE_DIFFUSION_XL,
    TEXT_ENCODER,
    TEXT_ENCODER_2,
    VAE_CONFIG,
    Layout,
)
from sde_edit.networks.prompts import load_tokenizer, read_prompts, token_ids
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class StableDiffusionXL(LatentSource):
    """The base model of SDXL, loaded by diffusers from safetensors only.

    path: a folder in diffusers layout or a hub id.

    The size conditioning says that an image has the size at which it is edited and was not cropped,
    as the published pipelines say by default. The autoencoder computes in float32 where float16
    would overflow.
    """

    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.PODELL2024SDXL
    layout: ClassVar[Layout] = STABLE_DIFFUSION_XL

    def read_prompts(self, prompts: Sequence[str]) -> list[PromptReading]:
        tokenizer, _ = _tokenizers(self.files.folder())
        return read_prompts(tokenizer, prompts)

    def without_weights(self) -> Callable[[], object]:
        x, t, first = self._blank_row()
        second = read_config(self.files.folder() / "text_encoder_2" / "config.json")
        text = first.new_empty(1, first.shape[1], first.shape[2] + second["hidden_size"])
        pooled = first.new_empty(1, second["projection_dim"])
        added = {"text_embeds": pooled, "time_ids": first.new_empty(1, 6)}
        return partial(self._blank_unet(), x, t, text, added_cond_kwargs=added)

    def load(self, device: str, dtype: str, compile: bool = False) -> LoadedStableDiffusionXL:
        return LoadedStableDiffusionXL(
            self.files.folder(), self.resolution, torch.device(device), dtype_of(dtype), compile
        )


def _tokenizers(folder: Path) -> tuple[Any, Any]:
    """Both tokenizers. Raises UserError if their tokens are not at the same places of a prompt."""
    first, second = (load_tokenizer(folder, name) for name in STABLE_DIFFUSION_XL.tokenizers)
    both = [(tokenizer.model_max_length, tokenizer.get_vocab()) for tokenizer in (first, second)]
    if both[0] != both[1]:
        raise UserError(
            f"{folder / 'tokenizer_2'}: its vocabulary or model_max_length is not that of "
            f"{folder / 'tokenizer'}: they are of different models. Fetch both folders again"
        )
    return first, second


class LoadedStableDiffusionXL(LoadedStableDiffusion):
    """The pipeline on its device. An embedding holds K tokens of both encoders, and one more row
    for the pooled embedding.
    """

    layout: ClassVar[Layout] = STABLE_DIFFUSION_XL

    def _load_text(self, folder: Path) -> None:
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        self.text_encoder = self._text_encoder(CLIPTextModel, folder, TEXT_ENCODER)
        self.text_encoder_2 = self._text_encoder(
            CLIPTextModelWithProjection, folder, TEXT_ENCODER_2
        )
        self.tokenizer, self.tokenizer_2 = _tokenizers(folder)
        self._empty_is_zero = read_switch(folder / INDEX, "force_zeros_for_empty_prompt", True)

    def _vae_dtype(self, folder: Path) -> torch.dtype:
        """float32 in place of float16, in which its activations overflow, unless its config says
        that they do not."""
        upcast = read_switch(folder / VAE_CONFIG, "force_upcast", True)
        return torch.float32 if upcast and self.dtype == torch.float16 else self.dtype

    def _encoded(self, prompts: Sequence[str]) -> Tensor:
        """[B, K + 1, D]: the hidden states of both encoders before their last layers, side by side,
        and after them the pooled embedding of the second, filled up with zeros.

        The empty prompt is zero, as in training, if the pipeline's `force_zeros_for_empty_prompt`
        says so.
        """
        first, second = (
            encoder(token_ids(tokenizer, prompts).to(self.device), output_hidden_states=True)
            for tokenizer, encoder in (
                (self.tokenizer, self.text_encoder),
                (self.tokenizer_2, self.text_encoder_2),
            )
        )
        text_BKD = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        pooled_BP = second.text_embeds
        pooled_BD = torch.nn.functional.pad(
            pooled_BP, (0, text_BKD.shape[-1] - pooled_BP.shape[-1])
        )
        embeddings = torch.cat([text_BKD, pooled_BD[:, None]], dim=1)
        if not self._empty_is_zero:
            return embeddings
        both = zip(prompts, embeddings, strict=True)
        return torch.stack([own if prompt else torch.zeros_like(own) for prompt, own in both])

    def _unet(self, x_BCHW: Tensor, t_B: Tensor, *condition: Tensor) -> Tensor:
        (text_BKD,) = condition
        pooled_BP = text_BKD[:, -1, : self.text_encoder_2.config.projection_dim]
        added = {"text_embeds": pooled_BP, "time_ids": self._sizes(x_BCHW)}
        return self._call_unet(x_BCHW, t_B, text_BKD[:, :-1], added_cond_kwargs=added)

    def _sizes(self, x_BCHW: Tensor) -> Tensor:
        """float32 [B, 6]: (y, x) of the original size, the corner of the crop and the target size,
        in pixels (Podell et al. 2024, Sec. 2.2)."""
        size = [self.factor * side for side in x_BCHW.shape[2:]]
        columns = [
            x_BCHW.new_full((len(x_BCHW),), number, dtype=torch.float32)  # no copy to the device
            for number in (*size, 0, 0, *size)
        ]
        return torch.stack(columns, dim=1)
