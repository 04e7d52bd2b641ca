"""Attention control, and the layers that obey: of Prompt-to-Prompt, which tokens take whose maps;
of MasaCtrl, keys and values of a reference.

Letters in tensor names: R rows of a call, H heads, P positions of a feature map, K tokens of a
prompt (of the source) or positions (of self-attention), J the same of the target; else as in
sde_edit/api.

code          Hertz et al. 2022
source        M_t, the maps under the source prompt
target        M*_t, those under the target prompt
maps          the alignment A, from a token of the target to those of the source
scale         the parameter c of re-weighting
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain
from string import punctuation
from typing import Any

import torch
from torch import Tensor

from sde_edit.api.model import AttentionControl

Words = Sequence[Sequence[int]]  # the token ids of each word of a prompt, without start and end


# ------------------------------------------------------------------ which token takes which map
def refinement(source: Words, target: Words, size: int) -> Tensor:
    """maps [K, J] for any two prompts: tokens that both have, in order, are each other's; a token
    that only the target has is nobody's.

    As the paper's global alignment, which scores a token replaced no better than one inserted.
    """
    before, after = list(chain(*source)), list(chain(*target))
    shared = torch.zeros(len(before), len(after))
    for block in SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks():
        for i in range(block.size):
            shared[block.a + i, block.b + i] = 1
    return _framed(shared, size)


def replacement(source: Words, target: Words, size: int) -> Tensor:
    """maps [K, J] for a swap of words: the n-th word of the target takes the maps of the source's
    n-th. Words of unlike length share: each token gets 1 / (tokens of the target's word).

    Raises ValueError if one prompt has more words.
    """
    blocks = [
        torch.eye(len(a)) if len(a) == len(b) else torch.full((len(a), len(b)), 1 / len(b))
        for a, b in zip(source, target, strict=True)
    ]
    return _framed(_diagonal(torch.zeros(0, 0), *blocks), size)


def _framed(inner: Tensor, size: int) -> Tensor:
    """With the start token before, and the end and the padding after, which pair off in order; what
    does not fit in `size` tokens is cut off, as the text encoder's tokenizer does."""
    inner = inner[: size - 2, : size - 2]
    before, after = inner.shape
    return _diagonal(torch.eye(1), inner, torch.eye(size - 1 - before, size - 1 - after))


def _diagonal(*blocks: Tensor) -> Tensor:
    joined: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return joined


def reweighting(
    prompt: Sequence[str], words: Words, factors: Mapping[str, float], size: int
) -> Tensor:
    """scale [J]: the factor of the token's word, whatever its case and punctuation; else 1."""
    lower = {word.lower(): factor for word, factor in factors.items()}
    keys = [word.strip(punctuation).lower() for word in prompt]
    of_tokens = [lower.get(k, 1.0) for k, ids in zip(keys, words, strict=True) for _ in ids]
    scale = torch.ones(size)
    scale[1 : size - 1][: len(of_tokens)] = torch.tensor(of_tokens[: size - 2])
    return scale


# ------------------------------------------------------------------ the layers
@dataclass(frozen=True)
class Control:
    """What the last B rows of a call, the target's, take from the first B, the source's.

    maps [B, K, J]: a token of the target whose column is not empty takes this mixture of the
    source's maps, another keeps its own; scale [B, J]: what the target's maps are multiplied by
    then. cross: whether they do. self_positions: how many positions the feature map of a
    self-attention has at most whose maps are the source's; 0: none.
    """

    maps_BKJ: Tensor
    scale_BJ: Tensor
    cross: bool
    self_positions: int

    def concerns(self, cross: bool, positions: int) -> bool:
        return self.cross if cross else positions <= self.self_positions

    def edited(self, maps_RHPK: Tensor, cross: bool) -> Tensor:
        """The maps of a call with the target's replaced."""
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
        """What stands in for `plain`, the processor of that layer."""
        return ControlledAttention(self, plain)


class ControlledAttention:
    """A processor of diffusers' attention layers that obeys a control, in `plain`'s place.

    Layers that the control does not concern are left to `plain`, with its fused kernel. For layers
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
    """Self-attention of the second half of a call's rows takes its keys and values from the first
    half, each from its own source, in up block `first_block` (0 the lowest) and those after it.

    Mutual self-attention (MasaCtrl, Cao et al. 2023): the source's look, where the queries want it.
    """

    first_block: int

    def processor(self, layer: str, plain: Any) -> Any:
        """What stands in for `plain`, the processor of that layer."""
        found = re.match(r"up_blocks\.(\d+)\..*\battn1\.", layer)
        taken = found is not None and int(found[1]) >= self.first_block
        return ReferredAttention(plain) if taken else plain


class ReferredAttention:
    """A processor of self-attention layers that gives `plain` the source's rows to look at."""

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
    """The attention layers of a diffusers UNet obey the control, until this is left."""
    plain = unet.attn_processors
    obedient = {name: control.processor(name, its) for name, its in plain.items()}
    unet.set_attn_processor(obedient)
    try:
        yield
    finally:
        unet.set_attn_processor(plain)
