"""A classifier of noisy latents in a folder of its own: config.json and model.safetensors.

The network is that of guided-diffusion, which classifies noisy images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch

from sde_edit.errors import UserError
from sde_edit.networks.checkpoints import read_config
from sde_edit.networks.weight_files import check_tensors, check_whole, reason_of

if TYPE_CHECKING:
    from sde_edit.networks.guided_diffusion import Classifier

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_REMEDY = "Give model.classifier the folder of a classifier of noisy latents"


@dataclass(frozen=True)
class NoisyClassifierConfig:
    """in_channels: of the latent. side: of the last map, in positions. unet: settings of the
    UNet2DModel whose encoder it is."""

    in_channels: int
    side: int
    classes: int
    unet: Mapping[str, Any]

    def build(self) -> Classifier:
        from sde_edit.networks.guided_diffusion import Classifier  # reads torch

        unet = {**self.unet, "in_channels": self.in_channels}
        return Classifier(unet, side=self.side, classes=self.classes)


def read_noisy_classifier(folder: Path) -> NoisyClassifierConfig:
    """Raises UserError if the folder holds no config of such a classifier."""
    file = folder / CONFIG
    if not file.is_file():
        raise UserError(f"{file} is missing. {_REMEDY}")
    try:
        return NoisyClassifierConfig(**read_config(file))
    except TypeError as error:
        raise UserError(f"{file} is no config of one ({reason_of(error)}). {_REMEDY}") from error


def load_noisy_classifier(folder: Path, dtype: torch.dtype) -> Classifier:
    """The classifier in that dtype, on the CPU, for inference.

    Raises UserError if files are missing or damaged, or do not fit each other.
    """
    config, file = read_noisy_classifier(folder), folder / WEIGHTS
    check_whole(file)
    try:
        with torch.device("meta"):
            classifier = config.build()
    except (RuntimeError, TypeError, KeyError, ValueError) as error:
        raise UserError(f"{folder / CONFIG}: {reason_of(error)}. {_REMEDY}") from error
    tensors = safetensors.torch.load_file(file)
    check_tensors(classifier.state_dict(), tensors, file, _REMEDY)
    cast = {key: tensor.to(dtype) for key, tensor in tensors.items()}
    classifier.load_state_dict(cast, assign=True)
    return classifier.eval().requires_grad_(False)


def save_noisy_classifier(
    folder: Path, config: NoisyClassifierConfig, classifier: Classifier
) -> None:
    """Write config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(asdict(config), indent=2) + "\n")
    safetensors.torch.save_file(classifier.state_dict(), folder / WEIGHTS)
