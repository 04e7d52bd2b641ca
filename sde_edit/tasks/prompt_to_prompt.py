"""Prompt-to-Prompt: decode with the source's attention maps; also null-text inversion.

With `sampler=sde` the source is encoded by Cycle-SDE, with `ode` by DDIM inversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.model import AttentionAccess, Model
from sde_edit.api.preparation import NOTHING_PREPARED, Prepared
from sde_edit.api.sampler import Sampler
from sde_edit.api.task import Task
from sde_edit.diffusion import host
from sde_edit.diffusion.denoiser import Project, no_edit
from sde_edit.diffusion.guidance import guide, rows_per_evaluation
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid, steps_below
from sde_edit.editing.batch import (
    attention_access,
    check_prompts,
    check_share,
    prompts,
)
from sde_edit.editing.encoding import PromptEncoding
from sde_edit.editing.local_blend import LocalBlend, map_size
from sde_edit.editing.null_text import NullText, rows_per_step
from sde_edit.errors import UserError, shortened
from sde_edit.networks.attention import (
    Control,
    WordMaps,
    bare_words,
    refinement,
    replacement,
    reweighting,
    selection,
)
from sde_edit.registry import UNLESS_DEFAULT, plugin

if TYPE_CHECKING:
    from torch import Tensor

_ALIGNED = 5_000  # characters of a prompt; the cost of aligning two grows with their product
_SHOWN = 200  # characters of a prompt in a message


@plugin
@dataclass(frozen=True)
class PromptToPrompt(Task):
    """Prompt-to-Prompt (Hertz et al. 2022) and null-text inversion (Mokady et al. 2023).

    source_prompt, prompt: templates, in which `{caption}` and `{target}` stand for the texts of the
    data set.
    source_guidance: guidance scale while encoding.
    guidance: guidance scale while decoding.
    t_0: the noise level up to which it encodes, as a share of T and of `steps`.

    The maps are those of the source at the states that encoding visited, under the source prompt
    without guidance. There is no second decoding branch that could drift, for an ODE or an SDE.
    Only the conditional half of guidance uses them.

    cross_replace, self_replace: the share of the steps, from the first on, in which cross- and
    self-attention use the source's maps.
    self_max_side: self-attention is replaced in feature maps of at most N x N positions, where N is
    this value.
    mode: `refine` replaces the maps of tokens that both prompts share; `replace` gives every token
    the maps of the word in its place, and needs prompts of equally many words.
    reweight: word -> factor for the maps of its tokens, where the target prompt has the word and
    cross_replace is active.

    blend_words: words of the prompts, separated by blanks, for the local blend; "" for none;
    `{words}` for those of the example, whose edit is free everywhere if it has none. After every
    step but the first ones, the result returns to the source's state wherever no such word of the
    source is seen, nor any of the target.
    blend_threshold: a word is seen where its attention map, summed over heads, layers and the steps
    so far, and pooled over 3 x 3 positions by their maximum, is above this share of its maximum.
    blend_start: the share of the steps, from the first on, without local blend.
    blend_cells: which maps are taken, by the side of a position in cells of the latent. With 4, as
    published, these are the maps of 16 x 16 positions for a latent of 64 x 64.

    null_steps: steps of optimisation, at every time, that fit the null embedding so that decoding
    follows the encoded source; 0 for none. Only for `sampler=ode`; published with source_guidance
    1. An example may stop early, so evaluations_per_image is an upper bound.
    """

    source_prompt: str
    prompt: str
    negative_prompt: str = ""
    mode: Literal["refine", "replace"] = "refine"
    cross_replace: float = 0.8
    self_replace: float = 0.4
    self_max_side: int = 16
    reweight: Mapping[str, float] = field(default_factory=dict)
    source_guidance: float = 1.0
    guidance: float = 7.5
    t_0: float = 1.0
    null_steps: int = 0
    blend_words: str = field(default="", metadata={"identity": UNLESS_DEFAULT})
    blend_threshold: float = field(default=0.3, metadata={"identity": UNLESS_DEFAULT})
    blend_start: float = field(default=0.2, metadata={"identity": UNLESS_DEFAULT})
    blend_cells: int = field(default=4, metadata={"identity": UNLESS_DEFAULT})
    version: ClassVar[int] = 2
    citation: ClassVar[Citation] = papers.HERTZ2023PROMPT
    uses_mask: ClassVar[bool] = False
    inverts: ClassVar[bool] = True
    follows_source: ClassVar[bool] = True
    shares_encoding: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for key in ("cross_replace", "self_replace"):
            if not 0 <= getattr(self, key) <= 1:
                raise UserError(f"task.{key}={getattr(self, key)}: must be from 0 to 1")
        check_share("task.t_0", self.t_0)
        if self.self_max_side < 1:
            raise UserError(f"task.self_max_side={self.self_max_side}: must be at least 1")
        if self.reweight and not self.cross_replace:
            raise UserError("task.reweight acts where maps are replaced: set task.cross_replace")
        if self.null_steps < 0:
            raise UserError(f"task.null_steps={self.null_steps}: must be 0 or more")
        if self.null_steps and self.guidance == 1:
            raise UserError(
                "task.guidance=1 asks for no null condition, so there is none to fit: "
                "set task.null_steps=0 or another guidance"
            )
        self._check_blend()

    def _check_blend(self) -> None:
        for key in ("blend_threshold", "blend_start"):
            if not 0 <= getattr(self, key) < 1:
                raise UserError(f"task.{key}={getattr(self, key)}: must be from 0 to below 1")
        if self.blend_cells < 1:
            raise UserError(f"task.blend_cells={self.blend_cells}: must be at least 1")
        for setting in fields(self):
            value, unset = getattr(self, setting.name), not self._blended
            if setting.name.startswith("blend_") and value != setting.default and unset:
                raise UserError(
                    f"task.{setting.name}={value} has no effect without task.blend_words"
                )

    @property
    def changes(self) -> str:
        maps = (
            ", under the source's attention maps" if self.cross_replace or self.self_replace else ""
        )
        null = ", the null condition fitted" if self.null_steps else ""
        blend = ", where the chosen words are seen" if self._blended else ""
        return f"the prompt{maps}{null}{blend}"

    @property
    def samplers(self) -> tuple[str, ...]:
        """The null embeddings are fitted to DDIM's steps."""
        return ("ode",) if self.null_steps else ()

    def check(self, example: Example) -> None:
        check_prompts(self, example, "source_prompt", "prompt", "negative_prompt")
        (before,), (after,) = (prompts(p, [example]) for p in (self.source_prompt, self.prompt))
        for prompt in (before, after):
            if len(prompt) > _ALIGNED:
                raise UserError(
                    f"{example.id}: a prompt of {len(prompt):,} characters; the words of at most "
                    f"{_ALIGNED:,} are aligned. Shorten {shortened(prompt, _SHOWN)!r}"
                )
        if self.mode == "replace" and len(before.split()) != len(after.split()):
            shown = " and ".join(repr(shortened(prompt, _SHOWN)) for prompt in (before, after))
            raise UserError(
                f"{example.id}: task.mode=replace needs prompts of as many words, not {shown}: use "
                "task.mode=refine"
            )
        chosen = self._words_for(example)
        if chosen and not chosen & {*_words(before), *_words(after)}:
            shown = " and ".join(repr(shortened(prompt, _SHOWN)) for prompt in (before, after))
            raise UserError(
                f"{example.id}: task.blend_words={self.blend_words!r}: none is in the prompts "
                f"{shown}; give words of them"
            )

    def check_model(self, model: Model) -> None:
        self._access(model)

    def _access(self, model: Model) -> AttentionAccess:
        """The model. Raises UserError if it gives no access, has no maps of `blend_cells`, or none
        as small as `self_max_side`."""
        access = attention_access(model, "p2p")
        known = sorted(access.cross_attention_cells)
        if self._blended and self.blend_cells not in known:
            raise UserError(
                f"task.blend_cells={self.blend_cells}: no cross-attention of the model has "
                "positions of so many cells of the latent on a side: give "
                f"{' or '.join(map(str, known))}"
            )
        smallest = min(access.latent_shape[1:]) // known[-1]
        if self.self_replace and self.self_max_side < smallest:
            raise UserError(
                f"task.self_max_side={self.self_max_side}: the smallest maps of self-attention "
                f"have {smallest} x {smallest} positions at the model's own size: give {smallest} "
                "or more, or task.self_replace=0"
            )
        return access

    @property
    def _blended(self) -> bool:
        return bool(self.blend_words.strip())

    def _words_for(self, example: Example) -> set[str]:
        """The words of the local blend; none for an example without any."""
        (chosen,) = prompts(self.blend_words, [example])
        return {*_words(chosen)}

    def without_effect(self, example: Example) -> list[str]:
        """The words of `reweight` that the target prompt lacks, of `blend_words` that both lack."""
        (before,), (after,) = (prompts(p, [example]) for p in (self.source_prompt, self.prompt))
        words = _words(after)
        lacking = [word for word in self.reweight if word.lower() not in words]
        unseen = sorted(self._words_for(replace(example, words="")) - {*_words(before), *words})
        return [
            *(f"task.reweight.{word}: no target prompt has this word" for word in lacking),
            *(f"task.blend_words: no prompt has the word {word!r}" for word in unseen),
            *self._without_words(example),
        ]

    def _without_words(self, example: Example) -> list[str]:
        """That the data set has no words for `{words}`. One example without any is none."""
        asks = "{words}" in self.blend_words
        none = (
            "task.blend_words={words}: no example that is edited has blended words: choose more of "
            'them, or give task.blend_words=""'
        )
        return [none] if asks and not example.words else []

    def edit(
        self,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
        prepared: Prepared = NOTHING_PREPARED,
    ) -> Tensor:
        self.check_model(model)
        grid = grid.truncated(self.t_0)
        inversion = self.encoding(examples, model, sampler, grid, noise)
        return self.edit_from(inversion, examples, model, sampler, grid, noise)

    @property
    def encoding(self) -> PromptEncoding:
        return PromptEncoding(self.source_prompt, self.negative_prompt, self.source_guidance)

    def edit_from(
        self,
        inversion: Inversion,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
        prepared: Prepared = NOTHING_PREPARED,
    ) -> Tensor:
        model = self._access(model)
        before, after = prompts(self.source_prompt, examples), prompts(self.prompt, examples)
        text, null = model.embed(before), model.embed(prompts(self.negative_prompt, examples))
        seen = self._seen(model, inversion.states, before, after, examples)
        decoder = _ControlledDenoiser(
            model=model,
            guidance=self.guidance,
            grid=grid,
            path=inversion.states,
            source_BKD=text,
            target_BKD=model.embed(after),
            nulls=self._nulls(model, inversion.states, grid, text, null),
            controls=self._controls(model, grid.steps, before, after, seen),
        )
        blend = self._blend(seen, inversion.states) if seen else no_edit
        x = sampler.decode(decoder.eps, inversion.latent, grid, noise, blend, inversion)
        return model.decode(x)

    def evaluations_per_image(self, steps: int) -> int:
        """Raises UserError if the local blend starts after the last step."""
        encode, decode = self.encode_evaluations(steps), 1 if self.guidance == 1 else 2
        fit = rows_per_step(self.null_steps) if self.null_steps else 0
        steps = steps_below(self.t_0, steps)
        self._blend_start(steps)
        with_source = steps if self._blended else max(self._replaced(steps))
        return encode + steps * (fit + decode) + with_source

    def encode_evaluations(self, steps: int) -> int:
        return steps_below(self.t_0, steps) * rows_per_evaluation(self.source_guidance)

    def _replaced(self, steps: int) -> tuple[int, int]:
        """In how many steps cross- and self-attention use the source's maps."""
        return round(self.cross_replace * steps), round(self.self_replace * steps)

    def _nulls(
        self, model: AttentionAccess, path: Tensor, grid: Grid, text_BKD: Tensor, null_BKD: Tensor
    ) -> Tensor:
        """The null embeddings of all steps [N, B, K, D]."""
        if not self.null_steps:
            return null_BKD.expand(grid.steps, *null_BKD.shape)
        fitted = NullText(model, self.guidance, self.null_steps)
        nulls, _ = fitted.fit(path, grid, text_BKD, null_BKD)
        return nulls

    def _seen(
        self,
        model: AttentionAccess,
        path: Tensor,
        before: Sequence[str],
        after: Sequence[str],
        examples: Sequence[Example],
    ) -> WordMaps | None:
        """What records the maps of `blend_words`; None without local blend."""
        if not self._blended:
            return None
        size, words = model.prompt_tokens, [sorted(self._words_for(e)) for e in examples]
        tokens = [
            [
                selection(prompt.split(), model.word_tokens(prompt), chosen, size)
                for prompt, chosen in zip(side, words, strict=True)
            ]
            for side in (before, after)
        ]
        tokens_2BK = torch.stack([torch.stack(side) for side in tokens])
        height, width = map_size(path, self.blend_cells)
        return WordMaps(height * width, tokens_2BK.to(model.device, model.state_dtype))

    def _blend(self, seen: WordMaps, path: Tensor) -> Project:
        start = self._blend_start(len(path) - 1)
        return LocalBlend(seen, path, self.blend_cells, self.blend_threshold, start)

    def _blend_start(self, steps: int) -> int:
        """The number of steps without local blend. Raises UserError if none is left with it."""
        start = round(self.blend_start * steps)
        if self._blended and start >= steps:
            raise UserError(
                f"task.blend_start={self.blend_start} leaves none of {steps} steps to the local "
                "blend: make it smaller, or leave out task.blend_words"
            )
        return start

    def _controls(
        self,
        model: AttentionAccess,
        steps: int,
        before: Sequence[str],
        after: Sequence[str],
        seen: WordMaps | None,
    ) -> list[Control | None]:
        """The control of every step; None where the target keeps its own maps and none is seen."""
        align = {"refine": refinement, "replace": replacement}[self.mode]
        size = model.prompt_tokens
        maps, scale = [], []
        for source, target in zip(before, after, strict=True):
            words = model.word_tokens(target)
            maps.append(align(model.word_tokens(source), words, size))
            scale.append(reweighting(target.split(), words, self.reweight, size))
        cross, own = self._replaced(steps)
        both = torch.stack(maps).to(model.device), torch.stack(scale).to(model.device)

        def control(i: int) -> Control | None:
            positions = self.self_max_side**2 if i < own else 0
            needed = i < cross or positions or seen
            return Control(*both, i < cross, positions, seen) if needed else None

        return [control(i) for i in range(steps)]


def _words(prompt: str) -> list[str]:
    return bare_words(prompt.split())


@dataclass(frozen=True)
class _ControlledDenoiser:
    """eps of the target prompt, with the source's attention maps at the same time.

    path [N+1, B, C, H, W]: the source's states; nulls, controls: one per step.
    """

    model: AttentionAccess
    guidance: float
    grid: Grid
    path: Tensor
    source_BKD: Tensor
    target_BKD: Tensor
    nulls: Tensor
    controls: Sequence[Control | None]

    def eps(self, x_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """A Denoiser for the times of the grid, one for all rows, by one call of the network.

        The call holds the source if its maps are used, null if there is guidance, and the target.
        Raises UserError for a time that is not of the grid.
        """
        i = self.grid.index_of(float(host.read(t_B)[0]))
        control, parts = self.controls[i], [(x_BCHW, self.target_BKD)]
        if self.guidance != 1:
            parts.insert(0, (x_BCHW, self.nulls[i]))
        if control:
            parts.insert(0, (self.path[i].to(x_BCHW), self.source_BKD))
        states, texts = zip(*parts, strict=True)
        rows = torch.cat(states), t_B.repeat(len(parts)), torch.cat(texts)
        e = torch.split(self.model.attend(*rows, control), len(x_BCHW))
        if self.guidance == 1:
            return e[-1]
        return guide(e[-2], e[-1], self.guidance)
