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

INDEX = "model_index.json"
UNET, VAE = "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"
TEXT_ENCODER, TEXT_ENCODER_2 = "text_encoder/model", "text_encoder_2/model"
SCHEDULER = "scheduler/scheduler_config.json"
UNET_CONFIG, VAE_CONFIG = "unet/config.json", "vae/config.json"
_TOKENIZER = "tokenizer.json"
_OLD_TOKENIZER = ("vocab.json", "merges.txt")
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class Layout:
    """What a family of pipelines has beside a UNet, an autoencoder and a scheduler config.

    text_encoders: folder -> class of the network in it. tokenizers: their folders. index: whether
    model_index.json decides the images too. addition: `addition_embed_type` of the UNet.
    """

    text_encoders: Mapping[str, str]
    tokenizers: tuple[str, ...]
    index: bool = False
    addition: str | None = None

    @property
    def stems(self) -> tuple[str, ...]:
        """The weights, without their suffix."""
        return (UNET, VAE, *(f"{folder}/model" for folder in self.text_encoders))

    @property
    def text_configs(self) -> tuple[str, ...]:
        return tuple(f"{folder}/config.json" for folder in self.text_encoders)

    @property
    def configs(self) -> tuple[str, ...]:
        index = (INDEX,) if self.index else ()
        return (UNET_CONFIG, VAE_CONFIG, *self.text_configs, *index)

    @property
    def fetched(self) -> tuple[str, ...]:
        """Patterns of the files that are fetched before the weights."""
        tokenizers = (f"{folder}/*" for folder in self.tokenizers)
        return (INDEX, "*/config.json", SCHEDULER, *tokenizers)


STABLE_DIFFUSION = Layout({"text_encoder": "CLIPTextModel"}, ("tokenizer",))
STABLE_DIFFUSION_XL = Layout(
    {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"},
    ("tokenizer", "tokenizer_2"),
    index=True,
    addition="text_time",
)


@dataclass(frozen=True)
class PipelineFiles:
    """UNet, autoencoder, text encoders, tokenizers and scheduler config.

    path: a folder in diffusers layout, a hub id, or `embedded:NAME` for a model shipped in this
    package. key: the setting that gives it, for messages.
    """

    path: str
    key: str = "model.path"
    layout: Layout = STABLE_DIFFUSION

    def folder(self) -> Path:
        """Where the files are, fetched first if the path is a hub id.

        Raises UserError if they cannot be fetched, and before the weights are for a pipeline that
        cannot be used.
        """
        layout = self.layout
        folder = checkpoint_folder(self.path, layout.fetched, self.key)
        _check_folders(folder, layout)
        require_files([folder / name for name in layout.configs], self._given)
        check_pipeline(folder, layout)
        return fetch_weights(self.path, folder, map(weight_names, layout.stems), self.key)

    def digest(self) -> str:
        """SHA-256 over all that decides the images. Raises UserError as `folder` does.

        It does not depend on whether the weights are named `.fp16.safetensors`.
        """
        return checkpoint_digest(self._files(self.folder()), self._given)

    @property
    def _given(self) -> str:
        return f"{self.key}={self.path}"

    def _files(self, folder: Path) -> dict[str, Path]:
        layout = self.layout
        weights = {f"{s}.safetensors": weights_of(folder, s, self._given) for s in layout.stems}
        named = {name: folder / name for name in (*layout.configs, SCHEDULER)}
        for tokenizer in layout.tokenizers:
            named |= self._tokenizer_files(folder / tokenizer)
        return weights | named

    def _tokenizer_files(self, folder: Path) -> dict[str, Path]:
        """What is there of a tokenizer's files, by folder and name. Raises UserError if they are no
        tokenizer, or naming one that is damaged."""
        names = (_TOKENIZER, *_OLD_TOKENIZER, *_TOKENIZER_SETTINGS)
        found = {name: folder / name for name in names if (folder / name).is_file()}
        if _TOKENIZER not in found and not found.keys() >= {*_OLD_TOKENIZER}:
            raise UserError(
                f"{self._given} has no tokenizer: {folder} must hold tokenizer.json, or vocab.json "
                f"and merges.txt. Copy the folder `{folder.name}` of the same model"
            )
        for file in found.values():
            _check_tokenizer_file(file, file.stat().st_mtime_ns)
        return {f"{folder.name}/{name}": file for name, file in found.items()}


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
    "time_cond_proj_dim": "is conditioned on the guidance scale, as latent consistency models are",
    "class_embed_type": "takes class labels or image embeddings",
    "num_class_embeds": "takes class labels",
    "encoder_hid_dim_type": "takes embeddings of another kind than Stable Diffusion",
}
_ADDITIONS = {
    None: "a time and a text alone, as Stable Diffusion 1.x and 2.x do",
    "text_time": "a pooled text and sizes too, as SDXL does",
}
_UNET_INPUTS = {
    5: "a depth-to-image network",
    7: "an upscaler",
    8: "a network for InstructPix2Pix",
    9: "a network for inpainting",
}
_ENCODERS = {  # which text encoders a folder has -> what that says
    ("text_encoder",): "one text encoder, as Stable Diffusion 1.x and 2.x, which model=sd15 reads",
    ("text_encoder", "text_encoder_2"): "two text encoders, as SDXL does, which model=sdxl reads",
    ("text_encoder_2",): "SDXL's second text encoder alone, as its refiner does",
}
_SIZES = 6  # numbers of the size conditioning: (y, x) of original size, crop and target size
_ONLY = "Use a text-to-image model in the layout of Stable Diffusion 1.x, 2.x or XL"


def _check_folders(folder: Path, layout: Layout) -> None:
    """Raises UserError if the folders are those of another family of pipelines."""
    if not (folder / "unet").is_dir() and (folder / "transformer").is_dir():
        raise UserError(f"{folder}: its network is a transformer, not a UNet. {_ONLY}")
    known = STABLE_DIFFUSION_XL.text_encoders
    found = tuple(name for name in known if (folder / name).is_dir())
    if found in _ENCODERS and found != tuple(layout.text_encoders):
        raise UserError(f"{folder}: has {_ENCODERS[found]}. {_ONLY}")


def check_pipeline(folder: Path, layout: Layout = STABLE_DIFFUSION) -> None:
    """Raises UserError naming the config, if the networks are not those of a text-to-image model of
    this layout. Reads configs alone.
    """
    _check_folders(folder, layout)
    unet, vae = (read_config(folder / name) for name in (UNET_CONFIG, VAE_CONFIG))
    texts = [read_config(folder / name) for name in layout.text_configs]
    _check_vae(vae, folder / VAE_CONFIG)
    for text, (name, expected) in zip(texts, layout.text_encoders.items(), strict=True):
        _check_text_encoder(text, folder / name / "config.json", expected)
    file, width = folder / UNET_CONFIG, sum(text["hidden_size"] for text in texts)
    check_conditioning(unet, file, "UNet2DConditionModel", width, layout.addition)
    if layout.addition:
        _check_addition(unet, file, texts[-1])
    _check_channels(unet, file, vae["latent_channels"])


def check_conditioning(
    config: Mapping[str, Any],
    file: Path,
    class_name: str,
    text_width: int,
    addition: str | None = None,
) -> None:
    """Raises UserError if a UNet or control net takes other inputs than a time, a text of
    `text_width` numbers per token, and what its `addition_embed_type` names."""
    _check_class(config, file, class_name)
    if (given := config.get("addition_embed_type")) != addition:
        what = _ADDITIONS.get(given, "something of another kind")
        raise UserError(f"{file}: addition_embed_type={given!r}: the network takes {what}. {_ONLY}")
    for key, what in _UNET_KEYS.items():
        if config.get(key) is not None:
            raise UserError(f"{file}: {key}={config[key]!r}: the network {what}. {_ONLY}")
    width = config.get("cross_attention_dim")
    if {*(width if isinstance(width, list) else [width])} != {text_width}:
        raise UserError(
            f"{file}: cross_attention_dim={width}, but the text encoder gives {text_width} numbers "
            "per token (hidden_size): they are of different models"
        )


def _check_addition(unet: Mapping[str, Any], file: Path, text_2: Mapping[str, Any]) -> None:
    """Raises UserError unless the UNet takes the pooled embedding and all the sizes."""
    sizes = _SIZES * unet.get("addition_time_embed_dim", 0)
    pooled = text_2.get("projection_dim", 0)
    taken = unet.get("projection_class_embeddings_input_dim")
    if taken != pooled + sizes:
        raise UserError(
            f"{file}: projection_class_embeddings_input_dim={taken}, but the pooled embedding has "
            f"{pooled} numbers (projection_dim) and the sizes have {sizes}: they are of different "
            "models"
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


def _check_text_encoder(text: Mapping[str, Any], file: Path, expected: str) -> None:
    names = text.get("architectures") or [expected]
    if names != [expected] or "hidden_size" not in text:
        raise UserError(f"{file}: must be of {expected}, not {', '.join(names)}. {_ONLY}")
