"""Class-conditional ImageNet at 256x256: guided-diffusion's ADM with its classifier (ADM-G)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.diffusion.denoiser import Denoiser
from sde_edit.diffusion.schedule import Schedule
from sde_edit.errors import UserError, shortened
from sde_edit.networks.base import PixelNetwork, alpha_at, dtype_of, pixel_size, refuse_hints
from sde_edit.networks.weight_files import check_whole
from sde_edit.registry import Count, Text, plugin
from sde_edit.store.digests import files_digest

if TYPE_CHECKING:
    from torch import Tensor

_OFFICIAL = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021"
_CLASSES = 1000


@plugin
@dataclass(frozen=True)
class ADM:
    """A class-conditional UNet in pixel space and a classifier of noisy images (Dhariwal and
    Nichol 2021). A prompt begins with a wnid of ImageNet, such as "n02129165 lion"; guidance is the
    scale of the classifier's gradient, and 0 omits it. Negative prompts must be "".

    path: the folder of the two official files.
    unet: file name of the UNet's weights.
    classifier: file name of the classifier's weights.
    head_channels: channels of one attention head, which the files do not record.

    The variance that the UNet learned is not used, because Eq. 6 defines its own for any eta. A row
    counts as one evaluation, including the classifier. Predictions of x_0 are not clipped.
    """

    path: Text = field(metadata={"identity": False})
    resolution: Count
    unet: Text = field(default="256x256_diffusion.pt", metadata={"identity": False})
    classifier: Text = field(default="256x256_classifier.pt", metadata={"identity": False})
    head_channels: Count = 64
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.DHARIWAL2021DIFFUSION

    def files(self) -> tuple[Path, Path]:
        """UNet and classifier. Raises UserError if one is missing or not whole."""
        files = Path(self.path) / self.unet, Path(self.path) / self.classifier
        if missing := [file.name for file in files if not file.is_file()]:
            raise UserError(
                f"model.path={self.path} lacks {' and '.join(missing)}; the official files are "
                f"{_OFFICIAL}/256x256_diffusion.pt and {_OFFICIAL}/256x256_classifier.pt"
            )
        for file in files:
            check_whole(file)
        return files

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return 3, self.resolution, self.resolution

    @property
    def factor(self) -> None:
        """The classifier has a place for each cell of its last map, and so one size only."""

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        return pixel_size(height, width, self)

    def schedule(self) -> Schedule:
        return Schedule.from_betas("linear", 1e-4, 0.02, 1000)

    def digest(self) -> str:
        return files_digest(self.files(), relative_to=Path(self.path))

    def without_weights(self) -> Callable[[], object]:
        """Of the UNet alone, as without guidance."""
        from sde_edit.networks.guided_diffusion import blank_unet  # reads torch

        unet = blank_unet(self.files()[0], head_channels=self.head_channels)
        x, t = torch.empty(1, *self.latent_shape, device="meta"), torch.empty(1, device="meta")
        return partial(unet, x, t, torch.empty(1, dtype=torch.long, device="meta"))

    def load(self, device: str, dtype: str, compile: bool = False) -> LoadedADM:
        """Raises UserError if a file is not of guided-diffusion, or not for 1000 classes."""
        return LoadedADM(self, torch.device(device), dtype_of(dtype), compile)


class LoadedADM(PixelNetwork):
    """UNet and classifier on their device. Their state is pixels in [-1, 1].

    The classifier stays in float32 when the UNet has 16 bits, as in DDIB's code: the derivative
    with respect to one pixel may underflow in float16.
    """

    def __init__(
        self, source: ADM, device: torch.device, dtype: torch.dtype, compile: bool = False
    ) -> None:
        from sde_edit.networks.guided_diffusion import load_classifier, load_unet  # read torch

        super().__init__(device, dtype)
        unet_file, classifier_file = source.files()
        unet = load_unet(unet_file, dtype, head_channels=source.head_channels)
        classifier = load_classifier(
            classifier_file,
            self.state_dtype,
            resolution=source.resolution,
            head_channels=source.head_channels,
        )
        _check_classes(unet.config.num_class_embeds, unet_file)
        _check_classes(classifier.classes, classifier_file)
        self.unet = self._placed(unet, compile=compile)
        self.classifier = self._placed(classifier, compile=compile)
        alpha = source.schedule().alpha
        self.alpha_T = torch.tensor(alpha, dtype=torch.float64, device=device)
        self.latent_shape, self.factor = source.latent_shape, source.factor

    def denoiser(
        self,
        prompts: Sequence[str],
        guidance: float,
        negatives: Sequence[str] = (),
        hints_BHWC: Tensor | None = None,
    ) -> Denoiser:
        """eps - guidance sqrt(1 - alpha_t) grad_x log p(y | x_t), with one class per row (Dhariwal
        and Nichol, Alg. 2). Raises UserError for a prompt that names no class.
        """
        refuse_hints(hints_BHWC)
        if given := [negative for negative in negatives if negative]:
            raise UserError(
                f'prompt {given[0]!r}: a class has no negative; set task.negative_prompt=""'
            )
        labels = torch.tensor([label_of(prompt) for prompt in prompts], device=self.device)
        scale = torch.full(labels.shape, guidance, dtype=self.state_dtype, device=self.device)
        condition = (labels, scale) if guidance else (labels,)
        return self._guided(condition, condition, 1)

    def domain_features(self, x_BCHW: Tensor, t_B: Tensor) -> Tensor:
        features: Tensor = self.classifier.features(x_BCHW.to(self.state_dtype), t_B.to(x_BCHW))
        return features.to(x_BCHW.dtype)

    def _predict(self, x_BCHW: Tensor, t_B: Tensor, *condition: Tensor) -> Tensor:
        label_B, *scale_B = condition
        x = self._as_input(x_BCHW)
        eps: Tensor = self.unet(x, t_B, label_B, return_dict=False)[0].to(x_BCHW.dtype)
        if not scale_B:
            return eps
        weight = scale_B[0].view(-1, 1, 1, 1) * (1 - alpha_at(self.alpha_T, t_B)).sqrt()
        return eps - weight.to(eps.dtype) * self._grad_log_p(x_BCHW, t_B, label_B)

    def _grad_log_p(self, x_BCHW: Tensor, t_B: Tensor, label_B: Tensor) -> Tensor:
        """grad_x log p(y | x_t), in the dtype of x."""
        with torch.inference_mode(False), torch.enable_grad():
            # Inference tensors cannot take part in autograd; copies made here can.
            x = x_BCHW.to(self.state_dtype, copy=True).requires_grad_()
            logits_BK = self.classifier(x, t_B.clone())
            log_p = -torch.nn.functional.cross_entropy(logits_BK, label_B.clone(), reduction="sum")
            return torch.autograd.grad(log_p, x)[0].to(x_BCHW.dtype)


def _check_classes(classes: int, file: Path) -> None:
    if classes != _CLASSES:
        raise UserError(f"{file} has {classes} classes; only the {_CLASSES} of ImageNet are read")


def label_of(prompt: str) -> int:
    """The label of the class that a prompt names.

    It is the index of the prompt's first word, a wnid, among the sorted wnids of ImageNet's 1000
    classes. Raises UserError if it is not one of them.
    """
    label = _labels().get(prompt.partition(" ")[0])
    if label is None:
        raise UserError(
            f"prompt {shortened(prompt, 100)!r} names no class: it must begin with one of "
            "ImageNet's 1000 wnids, such as n02129165 (lion)"
        )
    return label


@cache
def _labels() -> dict[str, int]:
    from timm.data import ImageNetInfo

    return {wnid: label for label, wnid in enumerate(ImageNetInfo().label_names())}
