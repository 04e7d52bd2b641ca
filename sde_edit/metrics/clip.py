"""CLIP similarity of image and caption, or of two images: a cosine, averaged over images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from PIL import Image

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.evaluation.per_image import (
    FEATURE_ERROR,
    PerImageMetric,
    captions,
    check_caption,
    references,
)
from sde_edit.evaluation.weights import DAMAGE, device_of, package, weights_note
from sde_edit.networks.weight_files import reason_of
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class Clip(PerImageMetric):
    """A cosine, about 0.2 to 0.3 for a good match; neither multiplied by 100 nor clipped at 0.

    model: a name of open_clip, or `local-dir:FOLDER`. OpenAI's weights need a `-quickgelu` name.
    pretrained: a tag of open_clip or a local weights file; empty with `local-dir:`.
    against: the prompt; or the source, the image that was edited (0.8 and more).

    tolerance: an error e of either unit vector moves their product by at most e.
    """

    model: str = "ViT-L-14-quickgelu"
    pretrained: str = "openai"
    against: Literal["prompt", "source"] = "prompt"

    version: ClassVar[int] = 1
    citation: ClassVar[Citation | None] = papers.HESSEL2021CLIPSCORE
    higher_is_better: ClassVar[bool] = True
    tolerance: ClassVar[float] = 2 * FEATURE_ERROR

    @cached_property
    def _loaded(self) -> tuple[Any, Callable[[Image.Image], Tensor], Callable[[list[str]], Tensor]]:
        """(network, preprocessing of one image, tokenizer)."""
        import open_clip

        with self._explaining(self._files):
            network, preprocess = open_clip.create_model_from_pretrained(
                self.model, pretrained=self.pretrained or None
            )  # raises an error for tensors that are missing or not of this network
            return network.eval(), preprocess, open_clip.get_tokenizer(self.model)

    @contextmanager
    def _explaining(self, remedy: Callable[[], str]) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except DAMAGE as error:
            raise UserError(
                f"cannot load CLIP {self.model} ({reason_of(error)}). {remedy()}"
            ) from error

    def _files(self) -> str:
        """The remedy for weights that are there and cannot be used."""
        import open_clip

        if source := open_clip.get_pretrained_cfg(self.model, self.pretrained):
            file = Path(
                open_clip.download_pretrained(source)
            ).resolve()  # the hub's cache has links
            return f"Delete {file}; it is fetched again"
        place = self.model.partition(":")[2] or self.pretrained
        return f"Fetch {place} again; its weights must be those of the model"

    def _download(self) -> str:
        """The remedy for weights that are not there."""
        import open_clip
        from huggingface_hub.constants import HF_HUB_CACHE

        source = open_clip.get_pretrained_cfg(self.model, self.pretrained)
        where = (source.get("hf_hub") or source.get("url") or "its weights").rstrip("/")
        return (
            f"Fetch {where} on a machine with a connection and copy it into {HF_HUB_CACHE}, or "
            "set `pretrained: FILE`, a file of weights, in the metric's YAML"
        )

    def convention(self) -> str:
        local = Path(self.pretrained)
        weights = weights_note(local) if local.is_file() else self.pretrained
        compared = "image and caption" if self.against == "prompt" else "output and source image"
        return (
            f"cosine of {compared} embeddings per image, {package('open_clip_torch')}, "
            f"{self.model}, weights {weights}, its own preprocessing (bicubic, crop), float32"
        )

    def fetch(self) -> None:
        import open_clip

        with self._explaining(self._download):
            source = open_clip.get_pretrained_cfg(self.model, self.pretrained)
            if not (source or ":" in self.model or Path(self.pretrained).is_file()):
                raise ValueError(f"pretrained={self.pretrained!r} is no tag of it and no file")
            open_clip.download_pretrained(source)
            open_clip.get_tokenizer(self.model)

    def load(self, device: str) -> None:
        self.fetch()
        self._loaded[0].to(device)

    def check(self, example: Example) -> None:
        if self.against != "source":
            check_caption(example)

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        with torch.inference_mode():
            outputs = self._embedded(images_BHWC)
            if self.against == "source":
                others = self._embedded(references(examples, "source"))
            else:
                network, _, tokenize = self._loaded
                others = network.encode_text(tokenize(captions(examples)).to(device_of(network)))
            return torch.nn.functional.cosine_similarity(outputs.double(), others.double())[
                :, None
            ].cpu()

    def _embedded(self, images_BHWC: Tensor) -> Tensor:
        """Image embeddings [B, D], not normalised."""
        network, preprocess, _ = self._loaded
        x_BCHW = torch.stack([preprocess(Image.fromarray(i)) for i in images_BHWC.cpu().numpy()])
        embedded: Tensor = network.encode_image(x_BCHW.to(device_of(network)))
        return embedded
