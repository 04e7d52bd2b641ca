"""Attention control: Prompt-to-Prompt replaces and records attention maps, MasaCtrl replaces keys
and values.

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
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sde_edit.api.model import AttentionControl

if TYPE_CHECKING:
    from torch import Tensor

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
    return _per_token(prompt, words, factors, 1.0, size)


def selection(prompt: Sequence[str], words: Words, chosen: Sequence[str], size: int) -> Tensor:
    """1 for each token [K] of the chosen words, ignoring case and punctuation; otherwise 0."""
    return _per_token(prompt, words, dict.fromkeys(chosen, 1.0), 0.0, size)


def _per_token(
    prompt: Sequence[str], words: Words, values: Mapping[str, float], other: float, size: int
) -> Tensor:
    """The value [size] of each token's word; `other` for words without, start, end and padding."""
    lower = {word.lower(): value for word, value in values.items()}
    keys = bare_words(prompt)
    of_tokens = [lower.get(k, other) for k, ids in zip(keys, words, strict=True) for _ in ids]
    found = torch.full((size,), other)
    found[1 : size - 1][: len(of_tokens)] = torch.tensor(of_tokens[: size - 2])
    return found


def bare_words(prompt: Sequence[str]) -> list[str]:
    """The words in lower case, without punctuation around them."""
    return [word.strip(punctuation).lower() for word in prompt]


# ------------------------------------------------------------------ the layers
@dataclass
class WordMaps:
    """The cross-attention maps of chosen tokens, summed over calls, layers, heads and tokens.

    positions: of the feature maps whose layers count. tokens [2, B, K]: 1 for the chosen tokens of
    each source prompt and of each target prompt, else 0. sum [2, B, P]: None if no layer has that
    many positions.
    """

    positions: int
    tokens_2BK: Tensor
    sum_2BP: Tensor | None = None

    def add(self, maps_RHPK: Tensor) -> None:
        """Add the maps of the first B rows, the source's, and of the last B, the target's."""
        rows = self.tokens_2BK.shape[1]
        both = torch.stack([maps_RHPK[:rows], maps_RHPK[-rows:]]).to(self.tokens_2BK)
        found = torch.einsum("sbhpk,sbk->sbp", both, self.tokens_2BK)
        self.sum_2BP = found if self.sum_2BP is None else self.sum_2BP + found


@dataclass(frozen=True)
class Control:
    """Prompt-to-Prompt: the last B rows of a call (target) use maps of the first B rows (source).

    maps [B, K, J]: the mixture of the source's maps that a token of the target uses; tokens whose
    column is empty keep their own map. scale [B, J]: factors applied to the target's maps after
    that. cross: whether this happens in cross-attention. self_positions: self-attention uses the
    source's maps in feature maps of at most that many positions; 0: nowhere. seen: records the
    maps that cross-attention uses.
    """

    maps_BKJ: Tensor
    scale_BJ: Tensor
    cross: bool
    self_positions: int
    seen: WordMaps | None = None

    def concerns(self, cross: bool, positions: int) -> bool:
        """Whether it changes or records cross- or self-attention over that many positions."""
        if cross:
            return self.cross or self._records(positions)
        return positions <= self.self_positions

    def _records(self, positions: int) -> bool:
        return self.seen is not None and positions == self.seen.positions

    def edited(self, maps_RHPK: Tensor, cross: bool) -> Tensor:
        """The maps of a call, with those of the target replaced; records them if asked to."""
        if self.cross or not cross:
            maps_RHPK = self._replaced(maps_RHPK, cross)
        if self.seen and cross and self._records(maps_RHPK.shape[2]):
            self.seen.add(maps_RHPK)
        return maps_RHPK

    def _replaced(self, maps_RHPK: Tensor, cross: bool) -> Tensor:
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
    own source, in up block `first_block` (0 the lowest) and all later ones; None: in every block of
    the UNet. So the result has the appearance of the source, and its own layout.
    """

    first_block: int | None = None

    def processor(self, layer: str, plain: Any) -> Any:
        """The replacement for `plain`, the processor of that layer."""
        return ReferredAttention(plain) if ".attn1." in layer and self._refers(layer) else plain

    def _refers(self, layer: str) -> bool:
        up_block = re.match(r"up_blocks\.(\d+)\.", layer)
        return self.first_block is None or (
            up_block is not None and int(up_block[1]) >= self.first_block
        )


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
