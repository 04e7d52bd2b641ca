"""Stable Diffusion 1.x and anything else in its folder layout, the embedded model included."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from sde_edit.digests import files_digest
from sde_edit.registry import plugin
from sde_edit.schedule import Schedule
from sde_edit.types import Denoiser, NotFiniteError, UserError

ASSETS = Path(__file__).parent.parent / "assets"
DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
_WEIGHTS = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)
_SCHEDULER = "scheduler/scheduler_config.json"
_CONFIGS = ("model_index.json", "*/config.json", _SCHEDULER, "tokenizer/*")


@plugin
@dataclass(frozen=True)
class StableDiffusion:
    """UNet, autoencoder, text encoder and tokenizer, loaded by diffusers from safetensors only.

    path: a folder in diffusers layout, a hub id, or `embedded:NAME` for a model shipped in this
    package. The run id holds the digest of the weights, not the path.
    """

    path: str = field(metadata={"identity": False})
    resolution: int
    version: ClassVar[int] = 1

    def folder(self) -> Path:
        """Where the files are, fetched first if the path is a hub id. Raises UserError."""
        if self.path.startswith("embedded:"):
            return ASSETS / self.path.removeprefix("embedded:")
        if Path(self.path).is_dir():
            return Path(self.path)
        if self.path.count("/") != 1 or self.path.startswith((".", "/", "~")):
            raise UserError(f"model.path={self.path}: no such folder")
        return _snapshot(self.path)

    def schedule(self) -> Schedule:
        file = self.folder() / _SCHEDULER
        if not file.is_file():
            raise UserError(f"{file} is missing: model.path must hold a diffusers folder")
        config = json.loads(file.read_text())
        if config.get("prediction_type", "epsilon") != "epsilon":
            raise UserError(f"{file}: prediction_type must be epsilon")
        return Schedule.from_betas(
            config["beta_schedule"],
            config["beta_start"],
            config["beta_end"],
            config["num_train_timesteps"],
        )

    def digest(self) -> str:
        folder = self.folder()
        files = [folder / name for name in (*_WEIGHTS, _SCHEDULER)]
        missing = [str(file) for file in files if not file.is_file()]
        if missing:
            raise UserError(
                f"model.path={self.path} lacks {', '.join(missing)}; only safetensors are read "
                "(diffusers' save_pretrained writes them)"
            )
        return files_digest(files, relative_to=folder)

    def load(self, device: str, dtype: str, compile: bool = False) -> LoadedStableDiffusion:
        if dtype not in DTYPES:
            raise UserError(f"dtype={dtype!r}: allowed are {', '.join(DTYPES)}")
        return LoadedStableDiffusion(self.folder(), torch.device(device), DTYPES[dtype], compile)


def _snapshot(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=[*_WEIGHTS, *_CONFIGS]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"model.path={hub_id} could not be fetched from the hub ({type(error).__name__}). "
            f"On a machine with internet run `hf download {hub_id}` and copy the folder, then "
            "give model.path=/that/folder; or use model=shapes, which is shipped in the package"
        ) from error


class LoadedStableDiffusion:
    """The network on its device. The sampler's state stays float32 (float64 for float64 weights);
    only what enters the network is cast to its dtype."""

    def __init__(
        self, folder: Path, device: torch.device, dtype: torch.dtype, compile: bool = False
    ) -> None:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # one bar per component says nothing of use
        self.device, self.dtype = device, dtype
        self.state_dtype = torch.float64 if dtype == torch.float64 else torch.float32
        kinds = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
        self.unet, self.vae, self.text_encoder = (
            kind.from_pretrained(folder / name, dtype=dtype, use_safetensors=True).eval().to(device)
            for name, kind in kinds.items()
        )
        # On a CPU the group norm of channels-last bf16 costs more than its convolutions save.
        on_gpu = device.type == "cuda"
        self.layout = torch.channels_last if on_gpu else torch.contiguous_format
        self.unet = self.unet.to(memory_format=self.layout)
        self.vae = self.vae.to(memory_format=self.layout)
        if compile:  # one graph for each number of rows, made at its first call
            self.unet = torch.compile(self.unet, dynamic=False)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.evaluations = 0
        self.calls = 0

    def encode(self, images_BHWC: Tensor) -> Tensor:
        """Scaled posterior means; uint8 [B, H, W, 3] -> float [B, 4, H/f, W/f]."""
        pixels = images_BHWC.to(self.device).permute(0, 3, 1, 2)  # bytes over the bus
        x = pixels.to(self.dtype) / 127.5 - 1
        mean = self.vae.encode(x).latent_dist.mean
        scaled: Tensor = mean.to(self.state_dtype) * self.vae.config.scaling_factor
        return scaled

    def decode(self, x_BCHW: Tensor) -> Tensor:
        """Rounded, not floored; float [B, 4, h, w] -> uint8 [B, f h, f w, 3] on the CPU.

        Raises NotFiniteError if the latents or the pixels are not finite.
        """
        z = (x_BCHW / self.vae.config.scaling_factor).to(self.dtype)
        pixels = self.vae.decode(z).sample.float()
        broken = (~pixels.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        if broken:
            raise NotFiniteError(
                f"the network gave NaN or infinity in {str(self.dtype).removeprefix('torch.')}: "
                "use dtype=bfloat16 or dtype=float32, or a smaller guidance",
                broken,
            )
        levels: Tensor = (127.5 * (pixels + 1)).clamp(0, 255).round().to(torch.uint8)
        return levels.permute(0, 2, 3, 1).contiguous().cpu()

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings [B, K, D]; each distinct prompt is encoded once."""
        distinct = list(dict.fromkeys(prompts))
        ids = self.tokenizer(
            distinct,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        hidden: Tensor = self.text_encoder(ids.to(self.device)).last_hidden_state
        rows = [distinct.index(prompt) for prompt in prompts]
        embeddings: Tensor = hidden[rows]
        return embeddings

    def denoiser(self, prompts: Sequence[str], guidance: float, negative: str = "") -> Denoiser:
        """App. A.1: eps(x, t, 0) + guidance (eps(x, t, c) - eps(x, t, 0)), both in one call."""
        cond = self.embed(prompts)
        if guidance == 1:
            return lambda x, t: self._network(x, t, cond)
        null = self.embed([negative]).expand_as(cond)
        if guidance == 0:
            return lambda x, t: self._network(x, t, null)
        both = torch.cat([null, cond])

        def eps(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
            doubled = torch.cat([x_BCHW, x_BCHW])
            e_null, e_cond = self._network(doubled, torch.cat([t_B, t_B]), both).chunk(2)
            guided: Tensor = e_null + guidance * (e_cond - e_null)
            return guided

        return eps

    def _network(self, x_BCHW: Tensor, t_B: Tensor, text_BKD: Tensor) -> Tensor:
        self.evaluations += len(x_BCHW)
        self.calls += 1
        x = x_BCHW.to(self.dtype, memory_format=self.layout)
        eps: Tensor = self.unet(x, t_B, text_BKD, return_dict=False)[0]
        return eps.to(x_BCHW.dtype)
