"""The files of a pipeline in Stable Diffusion's folder layout, and which pipelines can be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sde_edit.errors import UserError
from sde_edit.networks.checkpoints import (
    checkpoint_digest,
    checkpoint_folder,
    fetch_weights,
    read_config,
    require_files,
    weight_names,
    weights_of,
)
from sde_edit.networks.weight_files import check_whole

UNET, VAE = "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"
TEXT_ENCODER = "text_encoder/model"
SCHEDULER = "scheduler/scheduler_config.json"
_STEMS = (UNET, VAE, TEXT_ENCODER)
_CONFIGS = ("unet/config.json", "vae/config.json", "text_encoder/config.json")
_FETCHED = ("model_index.json", "*/config.json", SCHEDULER, "tokenizer/*")
_TOKENIZER = "tokenizer/tokenizer.json"
_OLD_TOKENIZER = ("tokenizer/vocab.json", "tokenizer/merges.txt")
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class PipelineFiles:
    """UNet, autoencoder, text encoder, tokenizer and scheduler config.

    path: a folder in diffusers layout, a hub id, or `embedded:NAME` for a model shipped in this
    package. key: the setting that gives it, for messages.
    """

    path: str
    key: str = "model.path"

    def folder(self) -> Path:
        """Where the files are, fetched first if the path is a hub id.

        Raises UserError if they cannot be fetched, and before the weights are for a pipeline that
        cannot be used.
        """
        folder = checkpoint_folder(self.path, _FETCHED, self.key)
        if not (folder / "transformer").is_dir():
            require_files([folder / name for name in _CONFIGS], self._given)
        check_pipeline(folder)
        return fetch_weights(self.path, folder, map(weight_names, _STEMS), self.key)

    def digest(self) -> str:
        """SHA-256 over all that decides the images. Raises UserError as `folder` does.

        It does not depend on whether the weights are named `.fp16.safetensors`.
        """
        return checkpoint_digest(self._files(self.folder()), self._given)

    @property
    def _given(self) -> str:
        return f"{self.key}={self.path}"

    def _files(self, folder: Path) -> dict[str, Path]:
        weights = {f"{s}.safetensors": weights_of(folder, s, self._given) for s in _STEMS}
        named = {name: folder / name for name in (*_CONFIGS, SCHEDULER)}
        return weights | named | self._tokenizer_files(folder)

    def _tokenizer_files(self, folder: Path) -> dict[str, Path]:
        """What is there of a tokenizer's files. Raises UserError if they are no tokenizer, or
        naming one that is damaged."""
        settings = tuple(f"tokenizer/{name}" for name in _TOKENIZER_SETTINGS)
        names = (_TOKENIZER, *_OLD_TOKENIZER, *settings)
        found = {name: folder / name for name in names if (folder / name).is_file()}
        if _TOKENIZER not in found and not found.keys() >= {*_OLD_TOKENIZER}:
            raise UserError(
                f"{self._given} has no tokenizer: {folder / 'tokenizer'} must hold tokenizer.json, "
                "or vocab.json and merges.txt. Copy the folder `tokenizer` of the same model"
            )
        for file in found.values():
            _check_tokenizer_file(file, file.stat().st_mtime_ns)
        return found


def latent_shape(folder: Path, resolution: int) -> tuple[int, int, int]:
    """(C, h, w) of the latents. Raises UserError if the resolution is no multiple of the factor."""
    factor = latent_factor(folder)
    check_resolution(resolution, factor, "the autoencoder's factor")
    channels: int = read_config(folder / "vae" / "config.json")["latent_channels"]
    return channels, resolution // factor, resolution // factor


def latent_size(height: int, width: int, factor: int) -> tuple[int, int]:
    """(h, w) of the latent of an image, rounded up."""
    return -(-height // factor), -(-width // factor)


def latent_factor(folder: Path) -> int:
    """How many pixels along a side become one latent."""
    levels: int = len(read_config(folder / "vae" / "config.json")["block_out_channels"])
    return 1 << (levels - 1)


def check_resolution(resolution: int, factor: int, why: str) -> None:
    """Raises UserError if the resolution is no positive multiple of `factor`."""
    if resolution < 1 or resolution % factor:
        below = max(1, resolution // factor) * factor
        near = " or ".join(str(side) for side in dict.fromkeys((below, below + factor)))
        raise UserError(
            f"model.resolution={resolution}: must be a multiple of {factor}, {why}, such as {near}"
        )


@lru_cache
def _check_tokenizer_file(file: Path, written: int) -> None:
    """Raises UserError naming a file of a tokenizer that is damaged. Reads it once.

    written: when, so that a file that was mended is read again.
    """
    if file.name == "merges.txt":
        whole, content = _holds_merges(file), "list of merges, two tokens a line"
    else:
        whole, content = _holds_vocabulary(read_config(file), file.name), "vocabulary"
    if not whole:
        raise UserError(
            f"{file} is damaged: it holds no {content}. Fetch the folder {file.parent} again"
        )


def _holds_vocabulary(config: Mapping[str, Any], name: str) -> bool:
    """Whether a JSON file of a tokenizer has its vocabulary, if it is one that should."""
    if name == "vocab.json":
        return bool(config)
    model = config.get("model")
    return name != "tokenizer.json" or (isinstance(model, dict) and bool(model.get("vocab")))


def _holds_merges(file: Path) -> bool:
    """Whether every line joins two tokens, after a first one that states the version."""
    check_whole(file)
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        return False
    merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    return all(len(tokens) == 2 and all(tokens) for tokens in merges)


# ------------------------------------------------------------------ which pipelines can be used
_UNET_KEYS = {
    "addition_embed_type": "takes more than a time and a text, as SDXL does",
    "time_cond_proj_dim": "is conditioned on the guidance scale, as latent consistency models are",
    "class_embed_type": "takes class labels or image embeddings",
    "num_class_embeds": "takes class labels",
    "encoder_hid_dim_type": "takes embeddings of another kind than Stable Diffusion",
}
_UNET_INPUTS = {
    5: "a depth-to-image network",
    7: "an upscaler",
    8: "a network for InstructPix2Pix",
    9: "a network for inpainting",
}
_ONLY = "Use a text-to-image model in the layout of Stable Diffusion 1.x or 2.x"


def check_pipeline(folder: Path) -> None:
    """Raises UserError naming the config, if the networks are not those of a text-to-image model
    like Stable Diffusion 1.x and 2.x. Reads configs alone.
    """
    if not (folder / "unet").is_dir() and (folder / "transformer").is_dir():
        raise UserError(f"{folder}: its network is a transformer, not a UNet. {_ONLY}")
    if (folder / "text_encoder_2").is_dir():
        raise UserError(f"{folder}: has two text encoders, as SDXL does. {_ONLY}")
    unet, vae, text = (read_config(folder / name) for name in _CONFIGS)
    _check_vae(vae, folder / "vae" / "config.json")
    _check_text_encoder(text, folder / "text_encoder" / "config.json")
    file = folder / "unet" / "config.json"
    check_conditioning(unet, file, "UNet2DConditionModel", text["hidden_size"])
    _check_channels(unet, file, vae["latent_channels"])


def check_conditioning(
    config: Mapping[str, Any], file: Path, class_name: str, text_width: int
) -> None:
    """Raises UserError if a UNet or control net takes other inputs than a time and a text of
    `text_width` numbers per token."""
    _check_class(config, file, class_name)
    for key, what in _UNET_KEYS.items():
        if config.get(key) is not None:
            raise UserError(f"{file}: {key}={config[key]!r}: the network {what}. {_ONLY}")
    width = config.get("cross_attention_dim")
    if {*(width if isinstance(width, list) else [width])} != {text_width}:
        raise UserError(
            f"{file}: cross_attention_dim={width}, but the text encoder gives {text_width} numbers "
            "per token (hidden_size): they are of different models"
        )


def _check_class(config: Mapping[str, Any], file: Path, expected: str) -> None:
    if config.get("_class_name") != expected:
        raise UserError(f"{file}: must be of {expected}, not {config.get('_class_name')}. {_ONLY}")


def _check_channels(unet: Mapping[str, Any], file: Path, latent_channels: int) -> None:
    channels = unet.get("in_channels"), unet.get("out_channels")
    if channels != (latent_channels, latent_channels):
        what = _UNET_INPUTS.get(channels[0] or 0, "another kind of network")
        raise UserError(
            f"{file}: the network has {channels[0]} channels in and {channels[1]} out, and latents "
            f"have {latent_channels}: it is {what}. {_ONLY}"
        )


def _check_vae(vae: Mapping[str, Any], file: Path) -> None:
    _check_class(vae, file, "AutoencoderKL")
    for key in ("shift_factor", "latents_mean", "latents_std"):
        if vae.get(key):
            raise UserError(
                f"{file}: {key}={vae[key]!r}: latents are scaled here and not shifted. {_ONLY}"
            )
    if missing := {"block_out_channels", "latent_channels"} - vae.keys():
        raise UserError(f"{file} lacks {', '.join(sorted(missing))}: fetch it again")


def _check_text_encoder(text: Mapping[str, Any], file: Path) -> None:
    names = text.get("architectures") or ["CLIPTextModel"]
    if names != ["CLIPTextModel"] or "hidden_size" not in text:
        raise UserError(f"{file}: must be of CLIPTextModel, not {', '.join(names)}. {_ONLY}")
