"""What a tokenizer takes from a prompt, known before a network is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sde_edit.api.model import PromptReading
from sde_edit.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Span = tuple[int, int]  # first character and the one after the last
_ENDS = 2  # tokens that every prompt has: start and end


def load_tokenizer(folder: Path, name: str = "tokenizer") -> Any:
    """The tokenizer of a pipeline. Raises UserError if its files cannot be read."""
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(folder / name)
    except Exception as error:  # the library in Rust raises plain Exceptions for damaged files
        raise UserError(
            f"{folder / name} cannot be read ({error}): fetch the folder again"
        ) from error


def token_ids(tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    """int64 [B, K]: each prompt with its start and end, filled up or cut to K tokens."""
    ids: Tensor = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return ids


def read_prompts(tokenizer: Any, prompts: Sequence[str]) -> list[PromptReading]:
    """How a tokenizer of CLIP's kind reads each prompt."""
    given = tokenizer(
        list(prompts),
        add_special_tokens=False,
        return_offsets_mapping=True,
        truncation=False,
        verbose=False,
    )
    limit = tokenizer.model_max_length - _ENDS
    return [
        _reading(prompt, ids, spans, limit=limit, unknown=tokenizer.unk_token_id)
        for prompt, ids, spans in zip(prompts, given.input_ids, given.offset_mapping, strict=True)
    ]


def _reading(
    prompt: str, ids: Sequence[int], spans: Sequence[Span], *, limit: int, unknown: int
) -> PromptReading:
    """ids, spans: the prompt's tokens, and where each lies in it."""
    cut = prompt[spans[limit][0] :] if len(ids) > limit else ""
    strange = [prompt[a:b] for i, (a, b) in zip(ids, spans, strict=True) if i == unknown]
    return PromptReading(cut, "".join(dict.fromkeys(strange)))
