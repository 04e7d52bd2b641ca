"""The embedded recogniser, which several metrics share."""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import PerImageMetric, to_signed
from sde_edit.evaluation.weights import device_of, reading, weights_note

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.networks.recogniser import Seen, ShapesCLIP

SHAPES_FOLDER = Path(__file__).parents[1] / "assets" / "shapes"
_SIDE = 64  # of the scenes that the recogniser was trained on


def shapes_folder(name: str) -> Path:
    """A folder of the embedded model. Raises UserError if it is missing."""
    folder = SHAPES_FOLDER / name
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not there. Reinstall sde-edit, or train the embedded model with "
            "scripts/train_shapes.py"
        )
    return folder


def recogniser_note() -> str:
    """Name and digest of the embedded recogniser, as conventions state them."""
    return (
        f"embedded recogniser, {weights_note(SHAPES_FOLDER / 'recogniser' / 'model.safetensors')}"
    )


def check_native(example: Example) -> None:
    """Raises UserError unless the image has the size of the recogniser's scenes."""
    height, width = example.image.shape[:2]
    if (height, width) != (_SIDE, _SIDE):
        raise UserError(
            f"the embedded recogniser knows scenes of {_SIDE}x{_SIDE} pixels, and example "
            f"{example.id!r} is {width}x{height}: choose a metric for photographs"
        )


def check_known(example: Example) -> None:
    """Raises UserError for an example that shows what the recogniser has no name for."""
    if example.novel:
        raise UserError(
            f"example {example.id!r} has {example.novel}, which the embedded recogniser cannot "
            "name: choose psnr, ssim, truth_error or shapes_lpips"
        )


# ------------------------------------------------------------------ what metrics share
class Recogniser:
    """The embedded recogniser on a device.

    Several metrics ask for the same outputs and references, one after the other, so it keeps the
    feature maps of the last batches: at most `capacity` bytes, or one batch if that has more.
    """

    def __init__(self, network: ShapesCLIP, capacity: int = 2**28) -> None:
        self.network = network
        self.device = device_of(network)
        self._capacity = capacity
        self._kept: list[tuple[Tensor, list[Tensor]]] = []  # images, their maps; newest last

    def maps(self, images_BHWC: Tensor) -> list[Tensor]:
        """The feature maps of uint8 images [B, H, W, 3] after each stage of the network."""
        images = images_BHWC.cpu()
        for seen, maps in self._kept:
            if torch.equal(seen, images):
                return maps
        maps = self.network.image_features(to_signed(images, self.device))
        self._kept.append((images, maps))
        while len(self._kept) > 1 and self._size > self._capacity:
            self._kept.pop(0)
        return maps

    @property
    def _size(self) -> int:
        return sum(one.nbytes for _, maps in self._kept for one in maps)

    def names(self, images_BHWC: Tensor) -> list[Seen]:
        """What each image shows."""
        return self.network.named(self.maps(images_BHWC))

    def embed(self, images_BHWC: Tensor) -> Tensor:
        """Unit vectors [B, D]."""
        return self.network.embed_image(self.maps(images_BHWC))


def load_recogniser(device: str) -> Recogniser:
    """The recogniser on a device, one for all callers. Raises UserError if a file is missing or
    damaged."""
    folder = shapes_folder("recogniser")
    return _loaded(folder, weights_note(folder / "model.safetensors"), device)


@lru_cache(maxsize=1)
def _loaded(folder: Path, weights: str, device: str) -> Recogniser:
    from sde_edit.networks.recogniser import ShapesCLIP  # reads torch

    with reading(folder, "Reinstall sde-edit"):
        return Recogniser(ShapesCLIP.from_pretrained(folder).to(device))


class UsesRecogniser:
    """Loads the embedded recogniser when it is first used; on the CPU unless `load` was called."""

    @cached_property
    def _recogniser(self) -> Recogniser:
        return load_recogniser("cpu")

    def fetch(self) -> None:
        shapes_folder("recogniser")

    def load(self, device: str) -> None:
        vars(self)["_recogniser"] = load_recogniser(device)


class RecogniserMetric(UsesRecogniser, PerImageMetric):
    """Base of the metrics whose value per image comes from the embedded recogniser."""

    def check(self, example: Example) -> None:
        check_native(example)
