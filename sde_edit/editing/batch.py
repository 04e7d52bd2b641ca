"""What tasks need from a batch of examples: images, masks, prompts, and checks of them.

In a prompt template `{caption}`, `{target}` and `{words}` stand for the example's texts. There is
no other field. Braces in the texts themselves are text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from sde_edit.api.example import Example
from sde_edit.api.model import AttentionAccess, Model
from sde_edit.api.task import Task
from sde_edit.errors import UserError, shortened

if TYPE_CHECKING:
    from torch import Tensor

_FIELDS = {"{caption}": "caption", "{target}": "target", "{words}": "words"}
_FIELD = re.compile(r"\{[^{}]*\}")
_SHOWN = 200  # characters of a template in a message
_SCENES = "shapes, shapes-ood"
_EDITS = "shapes-edits, shapes-object-edits, shapes-classes, coco-bison, imagenet, pie-bench"
# What an example may lack -> the data sets that have it.
HAVING = {
    "caption": f"{_SCENES}, shapes-drags, shapes-ood-drags, {_EDITS}, coco, dragbench, "
    "dragbench-205; folder with data.captions",
    "target": _EDITS,
    "words": "pie-bench",
    "mask": f"{_SCENES}, shapes-edits, shapes-object-edits, shapes-classes, pie-bench, places; "
    "folder with data.mask_root",
    "drags": "shapes-drags, shapes-ood-drags, dragbench, dragbench-205",
}


def images(examples: Sequence[Example]) -> Tensor:
    """The images of a batch: uint8 [B, H, W, 3]."""
    return torch.from_numpy(np.stack([example.image for example in examples]))


def hints(examples: Sequence[Example]) -> Tensor | None:
    """The hints of a batch: uint8 [B, H, W, 3]; None unless every example has one."""
    found = [example.hint for example in examples if example.hint is not None]
    return torch.from_numpy(np.stack(found)) if len(found) == len(examples) else None


def check_mask(example: Example) -> None:
    """Raises UserError if the example has no mask, or if its mask has another size or no hole."""
    mask, size = example.mask, example.image.shape[:2]
    if mask is None:
        raise UserError(
            f"{example.id}: the task needs a mask, and the data set gives none. "
            f"Data sets with masks: {HAVING['mask']}; for one photo, sde-edit edit --mask FILE"
        )
    if mask.shape != size:
        raise UserError(f"{example.id}: mask {mask.shape} and image {size} differ in size")
    if not mask.any():
        raise UserError(
            f"{example.id}: the mask hides nothing, so there is nothing to edit: correct it in the "
            "data set, or leave the example out of it"
        )


def check_drags(example: Example) -> None:
    """Raises UserError without drags, for a point outside the image, and for a mask that
    `check_mask` refuses.
    """
    if example.mask is not None:
        check_mask(example)
    if not example.drags:
        raise UserError(
            f"{example.id}: there is nothing to drag; use a data set with drags, or leave "
            f"the example out of it. Data sets with drags: {HAVING['drags']}"
        )
    height, width = example.image.shape[:2]
    for point in (point for drag in example.drags for point in (drag.source, drag.target)):
        if not (0 <= point[0] < width and 0 <= point[1] < height):
            raise UserError(
                f"{example.id}: the point (x, y) = {point} lies outside the image of "
                f"{width}x{height}: correct it in the data set"
            )


def masks(examples: Sequence[Example]) -> Tensor:
    """The masks of a batch: float32 [B, H, W], 1 = hidden. Every example must have a mask."""
    found = [example.mask for example in examples if example.mask is not None]
    assert len(found) == len(examples)
    return torch.from_numpy(np.stack(found))


def latent_masks(examples: Sequence[Example], x_BCHW: Tensor) -> Tensor:
    """The masks as bool [B, 1, h, w], on the device and at the size of the latents x."""
    height, width = x_BCHW.shape[2:]
    return to_latent_size(masks(examples), (height, width)).to(x_BCHW.device)


def may_change(examples: Sequence[Example], x_BCHW: Tensor) -> Tensor:
    """Bool [B, 1, h, w]: the mask of each example, or every cell if it has none."""
    inside = torch.ones(len(examples), 1, *x_BCHW.shape[2:], dtype=torch.bool)
    for own, example in zip(inside, examples, strict=True):
        if example.mask is not None:
            mask = torch.from_numpy(example.mask)[None]
            own.copy_(to_latent_size(mask, (x_BCHW.shape[2], x_BCHW.shape[3]))[0])
    return inside.to(x_BCHW.device)


def to_latent_size(mask_BHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Bool [B, 1, h, w]: a latent cell is hidden if any of its pixels is, even partly.

    Taking the nearest pixel instead would keep latents that encode hidden pixels, and so leak the
    right answer along the edge of the hole.
    """
    return torch.nn.functional.adaptive_max_pool2d(mask_BHW[:, None], size) > 0


def prompts(template: str, examples: Sequence[Example]) -> list[str]:
    """The template filled in for each example. Raises UserError for a field that there is not."""
    return [_filled(template, example) for example in examples]


def _filled(template: str, example: Example) -> str:
    """The template with its fields replaced at once: braces in a caption stay text."""
    texts = {field: getattr(example, attribute) for field, attribute in _FIELDS.items()}
    if unknown := [field for field in _FIELD.findall(template) if field not in texts]:
        there = ", ".join(field for field, text in texts.items() if text) or "no text"
        raise UserError(
            f"the prompt {shortened(template, _SHOWN)!r} asks for {unknown[0]}, which no "
            f"example has; {example.id} has {there}"
        )
    return _FIELD.sub(lambda field: texts[field[0]], template)


def check_prompts(task: Task, example: Example, *keys: str) -> None:
    """Raises UserError if one of these prompts asks for a text that the example lacks."""
    for key in keys:
        for field, text in _FIELDS.items():
            if field in getattr(task, key) and not getattr(example, text):
                raise UserError(
                    f"{example.id}: task.{key} asks for a {text}, and the example has none: add it "
                    f"to the data set, write the prompt, 'task.{key}=\"...\"', or take a data set "
                    f"with a {text}: {HAVING[text]}"
                )


def check_share(key: str, value: float) -> None:
    """Raises UserError unless the setting is in (0, 1], as a share of T must be."""
    if not 0 < value <= 1:
        raise UserError(f"{key}={value}: must be above 0 and at most 1")


def attention_access(model: Model, task: str) -> AttentionAccess:
    """The model, if it gives access to its layers. Raises UserError if it does not."""
    if not isinstance(model, AttentionAccess):
        raise UserError(
            f"task={task} needs a model whose layers can be seen and changed, as those of Stable "
            "Diffusion: use model=shapes, sd15, sd2 or sdxl"
        )
    return model
