"""Distances between distributions of features: extractors, their cache, the base of the metrics.

Letters: B batch, N examples, D features, C channels, H height, W width. Images are uint8.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
import torch

from sde_edit.api.example import Example
from sde_edit.api.metric import Metric
from sde_edit.evaluation.per_image import distribution_references
from sde_edit.evaluation.recognition import UsesRecogniser, check_native, recogniser_note
from sde_edit.evaluation.weights import (
    fetch,
    hub_file,
    package,
    reading,
    tensors_of,
    weights_note,
)

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.api.example import Pixels

ExtractorName = Literal["inception-clean", "inception-legacy-pytorch", "shapes"]


class Extractor(Protocol):
    """Images -> feature vectors."""

    def describe(self) -> str:
        """Resizing, network and weights, as text for a metric's convention."""

    def fetch(self) -> None:
        """Download the weights. Raises UserError with the remedy if that fails."""

    def load(self, device: str) -> None:
        """Fetch the weights and load them. Raises UserError with the remedy if that fails."""

    @property
    def device(self) -> torch.device:
        """The device that it was loaded to."""

    def __call__(self, images_BHWC: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> float32 [B, D] on the CPU."""


class Shapes(UsesRecogniser):
    """Last feature map of the embedded recogniser, averaged over positions: D = 192."""

    def describe(self) -> str:
        return f"{recogniser_note()}, last stage averaged over places, native size"

    @property
    def device(self) -> torch.device:
        return self._recogniser.device

    def __call__(self, images_BHWC: Tensor) -> Tensor:
        with torch.inference_mode():
            return self._recogniser.maps(images_BHWC)[-1].mean(dim=(2, 3)).cpu()


class Inception:
    """Pool3 features (D = 2048) of the FID Inception as clean-fid computes them.

    `clean`: Pillow bicubic with antialiasing, not requantised, and NVIDIA's TorchScript port.
    `legacy_pytorch`: bilinear without antialiasing and pytorch-fid's port.
    """

    def __init__(self, mode: Literal["clean", "legacy_pytorch"]) -> None:
        self.mode = mode

    @cached_property
    def _url(self) -> str:
        from cleanfid.downloads_helper import inception_url
        from cleanfid.inception_pytorch import FID_WEIGHTS_URL

        return str(inception_url if self.mode == "clean" else FID_WEIGHTS_URL)

    @cached_property
    def _resize(self) -> Callable[[Pixels], Any]:
        from cleanfid.resize import build_resizer

        with warnings.catch_warnings():  # it silences all warnings of the process
            return build_resizer(self.mode)  # type: ignore[no-any-return]

    def describe(self) -> str:
        return f"{package('clean-fid')} {self.mode}, {weights_note(hub_file(self._url))}"

    def fetch(self) -> None:
        fetch(self._url)

    def load(self, device: str) -> None:
        path = fetch(self._url)
        self._device = torch.device(device)
        with reading(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it calls torch and torchvision in their old ways
            self._network = self._build(path)

    def _build(self, path: Path) -> Callable[[Tensor], Tensor]:
        from cleanfid.features import feature_extractor
        from cleanfid.inception_torchscript import InceptionV3W

        network: Callable[[Tensor], Tensor]
        if self.mode == "clean":
            # Not clean-fid's build_feature_extractor: it keeps the weights in /tmp.
            network = InceptionV3W(str(path.parent), download=False).to(self._device).eval()
        else:
            tensors_of(path)  # the package would also run code that the file holds
            network = feature_extractor(
                "pytorch_inception", device=self._device, use_dataparallel=False
            )
        return network

    @property
    def device(self) -> torch.device:
        return self._device

    def __call__(self, images_BHWC: Tensor) -> Tensor:
        with torch.inference_mode():
            with ThreadPoolExecutor() as pool:
                resized = np.stack(list(pool.map(self._resize, images_BHWC.cpu().numpy())))
            x_BCHW = torch.from_numpy(resized).permute(0, 3, 1, 2).contiguous()
            return self._network(x_BCHW.to(self._device)).float().cpu()


def build_extractor(name: ExtractorName) -> Extractor:
    """The extractor with this name, not yet loaded."""
    if name == "shapes":
        return Shapes()
    return Inception("clean" if name == "inception-clean" else "legacy_pytorch")


class FeatureMemory:
    """Least-recently-used cache in memory of the features of whole batches, by content.

    The runs of a sweep share their references, and metrics with one extractor share a run's
    outputs. Only whole batches are looked up, so features are bitwise the same whatever is cached.
    It holds at most `capacity` bytes. A new process computes its references again, which costs
    little compared with the edits.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._size = 0

    def features(self, extractor: Extractor, description: str, images_BHWC: Tensor) -> Tensor:
        """The extractor's features of a batch: float32 [B, D]."""
        images_BHWC = images_BHWC.cpu().contiguous()
        place = f"{description}\x1f{extractor.device}\x1f{tuple(images_BHWC.shape)}"
        digest = hashlib.sha256(place.encode())
        digest.update(images_BHWC.numpy().tobytes())
        key = digest.hexdigest()
        if key not in self._kept:
            self._keep(key, extractor(images_BHWC))
        self._kept.move_to_end(key)
        return self._kept[key]

    def _keep(self, key: str, features_BD: Tensor) -> None:
        self._kept[key] = features_BD
        self._size += features_BD.nbytes
        while self._size > self._capacity and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._size -= dropped.nbytes


_MEMORY = FeatureMemory(capacity=2**29)  # Inception features of 65,536 images


@dataclass(frozen=True)
class DistributionMetric(Metric):
    """Base of the metrics that compare two distributions of features.

    A row holds the features of an output and of its reference, side by side [B, 2D]. The reference
    is the example's own if it has one, else its truth, else its image.
    resamplings: the number of bootstrap resamplings behind the interval.
    """

    extractor: ExtractorName = "inception-clean"
    resamplings: int = 200
    fewest: ClassVar[int] = 2

    @cached_property
    def _features(self) -> Extractor:
        return build_extractor(self.extractor)

    @cached_property
    def _description(self) -> str:
        return self._features.describe()

    def check(self, example: Example) -> None:
        if self.extractor == "shapes":
            check_native(example)

    def fetch(self) -> None:
        self._features.fetch()

    def load(self, device: str) -> None:
        self._features.load(device)

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        return torch.cat([self._of(images_BHWC), self._of_references(examples)], dim=1).double()

    def _of(self, images_BHWC: Tensor) -> Tensor:
        return _MEMORY.features(self._features, self._description, images_BHWC)

    def _of_references(self, examples: Sequence[Example]) -> Tensor:
        """Features [B, D] of the references, which may differ in size from the outputs and among
        each other."""
        images = distribution_references(examples)
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, image in enumerate(images):
            groups.setdefault(image.shape, []).append(row)
        stacks = (np.stack([images[row] for row in group]) for group in groups.values())
        features = torch.cat([self._of(torch.from_numpy(stack)) for stack in stacks])
        places = torch.tensor([row for group in groups.values() for row in group])
        return features[places.argsort()]
