"""LPIPS of Zhang et al. 2018 with the package `lpips`, averaged over images."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.evaluation.per_image import (
    FEATURE_ERROR,
    FullReferenceMetric,
    check_sides,
    to_signed,
)
from sde_edit.evaluation.weights import (
    device_of,
    fetch,
    hub_file,
    package,
    reading,
    tensors_of,
    weights_note,
)
from sde_edit.networks.weight_files import check_tensors
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor, nn

_LEAST_SIDES = {"alex": 31, "vgg": 16, "squeeze": 17}  # smaller ones are pooled to nothing


@plugin
@dataclass(frozen=True)
class Lpips(FullReferenceMetric):
    """Values of different backbones or calibrations are not comparable.

    net: the backbone.
    calibration: the version of the linear layers in the package.

    tolerance: errors e of both unit vectors move their squared distance d by at most 4 e sqrt(d).
    Above d = 1/16 that is within 2^-16 of d, and below it within e = 2^-20.
    """

    net: Literal["alex", "vgg", "squeeze"] = "alex"
    calibration: Literal["0.0", "0.1"] = "0.1"

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.ZHANG2018LPIPS
    higher_is_better: ClassVar[bool] = False
    tolerance: ClassVar[float] = FEATURE_ERROR

    @cached_property
    def _url(self) -> str:
        from torchvision.models import AlexNet_Weights, SqueezeNet1_1_Weights, VGG16_Weights

        weights = {"alex": AlexNet_Weights, "vgg": VGG16_Weights, "squeeze": SqueezeNet1_1_Weights}
        return str(weights[self.net].IMAGENET1K_V1.url)

    @cached_property
    def _network(self) -> nn.Module:
        import lpips

        backbone = hub_file(self._url)
        with reading(backbone), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it calls torchvision in its old way
            tensors_of(backbone)  # the package would also run code that the file holds
            network = lpips.LPIPS(
                net=self.net, version=self.calibration, pretrained=False, verbose=False
            )
        assert isinstance(network, torch.nn.Module)
        _calibrate(
            network, Path(lpips.__file__).parent / f"weights/v{self.calibration}/{self.net}.pth"
        )
        return network.eval()

    def convention(self) -> str:
        return (
            f"LPIPS per image against {self._compared_with}, {package('lpips')}, net {self.net}, "
            f"version {self.calibration}, {weights_note(hub_file(self._url))}, input [-1, 1], "
            "native size"
        )

    def fetch(self) -> None:
        fetch(self._url)

    def load(self, device: str) -> None:
        self.fetch()
        self._network.to(device)

    def check(self, example: Example) -> None:
        check_sides(example, _LEAST_SIDES[self.net], f"LPIPS with net={self.net}")

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        with torch.inference_mode():
            device = device_of(self._network)
            distances: Tensor = self._network(
                to_signed(images_BHWC, device), to_signed(self._references(examples), device)
            )
            return distances.reshape(-1, 1).double().cpu()


def _calibrate(network: nn.Module, weights: Path) -> None:
    """Load the linear layers. The package itself leaves those random that its file lacks."""
    remedy = "Reinstall the package lpips: pip install --force-reinstall --no-deps lpips"
    with reading(weights, remedy):
        tensors = tensors_of(weights)
    wanted = {key: own for key, own in network.state_dict().items() if _LINEAR.match(key)}
    check_tensors(wanted, tensors, weights, remedy)
    network.load_state_dict(tensors, strict=False)


_LINEAR = re.compile(r"lin\d")
