"""The embedded recogniser, which several metrics share."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import PerImageMetric, to_signed
from sde_edit.evaluation.weights import device_of, reading, weights_note

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.networks.recogniser import ShapesCLIP

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


def load_recogniser() -> ShapesCLIP:
    """The embedded recogniser on the CPU. Raises UserError if a file is missing or damaged."""
    from sde_edit.networks.recogniser import ShapesCLIP  # reads torch

    folder = shapes_folder("recogniser")
    with reading(folder, "Reinstall sde-edit"):
        return ShapesCLIP.from_pretrained(folder)


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


class UsesRecogniser:
    """Loads the embedded recogniser when it is first used."""

    @cached_property
    def _network(self) -> ShapesCLIP:
        return load_recogniser()

    def fetch(self) -> None:
        shapes_folder("recogniser")

    def load(self, device: str) -> None:
        self.fetch()
        self._network.to(device)


class RecogniserMetric(UsesRecogniser, PerImageMetric):
    """Base of the metrics whose value per image comes from the embedded recogniser."""

    def check(self, example: Example) -> None:
        check_native(example)

    def _input(self, images_BHWC: Tensor) -> Tensor:
        return to_signed(images_BHWC, device_of(self._network))
