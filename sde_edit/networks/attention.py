"""Attention control: Prompt-to-Prompt replaces attention maps, MasaCtrl keys and values.

Letters in tensor names: R rows of a call, H heads, P positions of a feature map, K tokens of the
source prompt (or positions, in self-attention), J tokens of the target prompt; else as in
sde_edit/api.

code          Hertz et al. 2022
source        M_t, the maps under the source prompt
target        M*_t, the maps under the target prompt
maps          the alignment A, from each token of the target to tokens of the source
scale         the parameter c of re-weighting
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from string import punctuation
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sde_edit.api.model import AttentionControl

Words = Sequence[Sequence[int]]  # token ids of each word of a prompt, without start and end


# ------------------------------------------------------------------ alignment of tokens
def refinement(source: Words, target: Words, size: int) -> Tensor:
    """maps [K, J] for any two prompts.

    Shared tokens are aligned in order, as many as possible; tokens that only the target has stay
    unaligned. This is the paper's global alignment: a match scores 1, a gap 0 and a mismatch -1.
    Of several best alignments it is the one of the published code.
    """
    before, after = list(chain(*source)), list(chain(*target))
    shared = torch.zeros(len(before), len(after))
    for i, j in _common_subsequence(before, after):
        shared[i, j] = 1
    return _framed(shared, size)


def _common_subsequence(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The pairs (i, j) of a longest common subsequence, last first.

    Two gaps always score better than a mismatch, so there is none. Going back, a token of `after`
    is left out wherever that loses nothing, then one of `before`.
    """
    length = np.zeros((len(before) + 1, len(after) + 1), dtype=int)
    for i, token in enumerate(before, 1):
        matched = length[i - 1, :-1] + np.equal(after, token)
        length[i, 1:] = np.maximum.accumulate(np.maximum(length[i - 1, 1:], matched))
    i, j = len(before), len(after)
    while i and j:
        if length[i, j] == length[i, j - 1]:
            j -= 1
        elif length[i, j] == length[i - 1, j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            yield i, j


def replacement(source: Words, target: Words, size: int) -> Tensor:
    """maps [K, J] for swapped words: the target's n-th word uses the maps of the source's n-th.

    If two words differ in their number of tokens, all their tokens are aligned with weight
    1 / (tokens of the target's word). Raises ValueError if one prompt has more words.
    """
    blocks = [
        torch.eye(len(a)) if len(a) == len(b) else torch.full((len(a), len(b)), 1 / len(b))
        for a, b in zip(source, target, strict=True)
    ]
    return _framed(_diagonal(torch.zeros(0, 0), *blocks), size)


def _framed(inner: Tensor, size: int) -> Tensor:
    """Add the start token before, and the end and padding tokens after, aligned in order.

    Whatever exceeds `size` tokens is cut off, as by the tokenizer of the text encoder.
    """
    inner = inner[: size - 2, : size - 2]
    before, after = inner.shape
    return _diagonal(torch.eye(1), inner, torch.eye(size - 1 - before, size - 1 - after))


def _diagonal(*blocks: Tensor) -> Tensor:
    joined: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return joined


def reweighting(
    prompt: Sequence[str], words: Words, factors: Mapping[str, float], size: int
) -> Tensor:
    """scale [J]: the factor of each token's word, ignoring case and punctuation; otherwise 1."""
    lower = {word.lower(): factor for word, factor in factors.items()}
    keys = bare_words(prompt)
    of_tokens = [lower.get(k, 1.0) for k, ids in zip(keys, words, strict=True) for _ in ids]
    scale = torch.ones(size)
    scale[1 : size - 1][: len(of_tokens)] = torch.tensor(of_tokens[: size - 2])
    return scale


def bare_words(prompt: Sequence[str]) -> list[str]:
    """The words in lower case, without punctuation around them."""
    return [word.strip(punctuation).lower() for word in prompt]


# ------------------------------------------------------------------ the layers
@dataclass(frozen=True)
class Control:
    """Prompt-to-Prompt: the last B rows of a call (target) use maps of the first B rows (source).

    maps [B, K, J]: the mixture of the source's maps that a token of the target uses; tokens whose
    column is empty keep their own map. scale [B, J]: factors applied to the target's maps after
    that. cross: whether this happens in cross-attention. self_positions: self-attention uses the
    source's maps in feature maps of at most that many positions; 0: nowhere.
    """

    maps_BKJ: Tensor
    scale_BJ: Tensor
    cross: bool
    self_positions: int

    def concerns(self, cross: bool, positions: int) -> bool:
        """Whether it changes cross-attention, or self-attention over that many positions."""
        return self.cross if cross else positions <= self.self_positions

    def edited(self, maps_RHPK: Tensor, cross: bool) -> Tensor:
        """The maps of a call, with those of the target replaced."""
        rows = len(self.maps_BKJ)
        source, target = maps_RHPK[:rows], maps_RHPK[-rows:]
        if cross:
            aligned = self.maps_BKJ[:, None].to(source)
            taken = aligned.any(2, keepdim=True)
            target = torch.where(taken, source @ aligned, target)
            target = target * self.scale_BJ[:, None, None].to(target)
        else:
            target = source
        return torch.cat([maps_RHPK[:-rows], target])

    def processor(self, layer: str, plain: Any) -> Any:
        """The replacement for `plain`, the processor of that layer."""
        return ControlledAttention(self, plain)


class ControlledAttention:
    """A processor for diffusers' attention layers that applies a control.

    Layers that the control does not concern use `plain`, with its fused kernel. It works for layers
    inside transformer blocks, whose input is [R, P, channels].
    """

    def __init__(self, control: Control, plain: Any) -> None:
        self._control, self._plain = control, plain

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        cross = encoder_hidden_states is not None
        if not self._control.concerns(cross, hidden_states.shape[1]):
            plain: Tensor = self._plain(attn, hidden_states, encoder_hidden_states, attention_mask)
            return plain
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            attn.head_to_batch_dim(project(x))
            for project, x in ((attn.to_q, hidden_states), (attn.to_k, seen), (attn.to_v, seen))
        )
        mask = attn.prepare_attention_mask(attention_mask, seen.shape[1], len(seen))
        maps = attn.get_attention_scores(query, key, mask).unflatten(0, (-1, attn.heads))
        maps = self._control.edited(maps, cross).flatten(0, 1)
        out: Tensor = attn.to_out[0](attn.batch_to_head_dim(maps @ value))
        return out


@dataclass(frozen=True)
class Reference:
    """Mutual self-attention (MasaCtrl, Cao et al. 2023).

    The second half of a call's rows takes keys and values from the first half, each row from its
    own source, in up block `first_block` (0 the lowest) and all later ones. So the result has the
    appearance of the source, and its own layout.
    """

    first_block: int

    def processor(self, layer: str, plain: Any) -> Any:
        """The replacement for `plain`, the processor of that layer."""
        found = re.match(r"up_blocks\.(\d+)\..*\battn1\.", layer)
        taken = found is not None and int(found[1]) >= self.first_block
        return ReferredAttention(plain) if taken else plain


class ReferredAttention:
    """A processor for self-attention layers whose keys and values come from the source's rows."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        assert encoder_hidden_states is None
        source = hidden_states.chunk(2)[0]
        seen = torch.cat([source, source])
        out: Tensor = self._plain(attn, hidden_states, seen, attention_mask)
        return out


@contextmanager
def controlled(unet: Any, control: AttentionControl) -> Iterator[None]:
    """Context manager: the attention layers of a diffusers UNet apply the control."""
    plain = unet.attn_processors
    replaced = {name: control.processor(name, its) for name, its in plain.items()}
    unet.set_attn_processor(replaced)
    try:
        yield
    finally:
        unet.set_attn_processor(plain)
