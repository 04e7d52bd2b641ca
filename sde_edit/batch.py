"""What tasks ask of a batch of examples: its images, its prompts, and what guidance costs.

In a prompt template `{caption}` and `{target}` stand for what the example says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sde_edit.types import Example, UserError

_WORDS = {"{caption}": "caption", "{target}": "target"}


def images(examples: Sequence[Example]) -> Tensor:
    """uint8 [B, H, W, 3]."""
    return torch.from_numpy(np.stack([example.image for example in examples]))


def hints(examples: Sequence[Example]) -> Tensor | None:
    """uint8 [B, H, W, 3], or None if the data set has none."""
    found = [example.hint for example in examples if example.hint is not None]
    return torch.from_numpy(np.stack(found)) if len(found) == len(examples) else None


def prompts(template: str, examples: Sequence[Example]) -> list[str]:
    """One prompt per example."""
    return [_filled(template, example) for example in examples]


def _filled(template: str, example: Example) -> str:
    for word, field in _WORDS.items():
        template = template.replace(word, getattr(example, field))
    return template


def check_prompt(key: str, template: str, example: Example) -> None:
    """Raises UserError if the template asks for what the example does not have."""
    for word, field in _WORDS.items():
        if word in template and not getattr(example, field):
            raise UserError(f"{example.id}: {key} asks for a {field}, and there is none")


def rows_per_evaluation(guidance: float) -> int:
    """Rows of the network that one evaluation of eps costs: one at guidance 0 and 1, else two."""
    return 1 if guidance in (0, 1) else 2
