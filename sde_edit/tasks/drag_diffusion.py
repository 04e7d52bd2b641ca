"""DragDiffusion (Shi et al. 2023): optimise the latent at t_0 until its features have moved.

The baseline that the paper compares SDE-Drag with (Sec. 5.3, App. F.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.model import Adapter, AttentionAccess, Model
from sde_edit.api.preparation import NOTHING_PREPARED, Prepared
from sde_edit.api.sampler import Sampler
from sde_edit.api.task import Task
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid, steps_below
from sde_edit.editing.batch import (
    attention_access,
    check_drags,
    check_prompts,
    check_share,
    images,
    may_change,
    prompts,
)
from sde_edit.editing.lora import LoraFit, adapted, lora_fits
from sde_edit.editing.motion_supervision import MotionSupervision, on_map
from sde_edit.editing.reference import ReferenceDenoiser
from sde_edit.errors import UserError
from sde_edit.networks.attention import Reference
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class DragDiffusion(Task):
    """DragDiffusion with `sampler=ode`; it drags all points of `example.drags` at once.

    The sampler encodes the image up to t_0 (a share of T and of `steps`), Adam changes x_t0 for at
    most `drag_steps` steps of learning rate lr, and the sampler decodes. Guidance is 1.
    A step pulls the features in the square of radius r_m around each point one pixel towards its
    target, and then tracks the point within the window of radius r_p. An image stops when all its
    points are within a pixel of their targets, so evaluations_per_image is an upper bound.
    Pixels and radii refer to a map of half the image's size, whatever that size is.

    lam: weight of the L1 penalty on changes outside the mask, of x one step below t_0; an example
    without a mask may change everywhere.
    block: the up block of the UNet that gives the features (0 the lowest); null: the last but one,
    Stable Diffusion's third of four.
    reference_blocks: in how many of the last up blocks self-attention takes keys and values from
    the source while decoding, that is, from the states that encoding visited; 0 for none.

    lora_steps: steps of the LoRA fit that adapts the network to each image under its prompt; 0 for
    none. The LoRA is scaled by 1 at every time.
    """

    prompt: str
    t_0: float = 0.7
    drag_steps: int = 40
    lr: float = 0.01
    lam: float = 0.1
    r_m: int = 1
    r_p: int = 3
    block: int | None = None
    reference_blocks: int = 2
    lora_steps: int = 100
    lora_rank: int = 4
    lora_rate: float = 2e-4
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.SHI2024DRAGDIFFUSION
    uses_mask: ClassVar[bool] = False  # a mask is optional, and hides nothing that must be shown
    inverts: ClassVar[bool] = True
    edits_states: ClassVar[bool] = True
    changes: ClassVar[str] = "the latent, until its features lie at the targets"

    def __post_init__(self) -> None:
        check_share("task.t_0", self.t_0)
        for key in ("lr", "r_p"):
            if getattr(self, key) <= 0:
                raise UserError(f"task.{key}={getattr(self, key)}: must be above 0")
        for key in ("drag_steps", "lam", "r_m", "block", "reference_blocks"):
            if (getattr(self, key) or 0) < 0:
                raise UserError(f"task.{key}={getattr(self, key)}: must be 0 or more")
        _ = self.preparations  # raises UserError

    @property
    def preparations(self) -> tuple[LoraFit, ...]:
        return lora_fits(
            self.prompt, steps=self.lora_steps, rank=self.lora_rank, rate=self.lora_rate
        )

    @property
    def follows_source(self) -> bool:
        return self.reference_blocks > 0

    def check_model(self, model: Model) -> None:
        self._block(attention_access(model, "drag_diffusion"))

    def check(self, example: Example) -> None:
        check_prompts(self, example, "prompt")
        check_drags(example)

    def edit(
        self,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
        prepared: Prepared = NOTHING_PREPARED,
    ) -> Tensor:
        model, grid = attention_access(model, "drag_diffusion"), grid.truncated(self.t_0)
        block, adapters = self._block(model), prepared.get(LoraFit.name, ())
        prompt = prompts(self.prompt, examples)
        x_0, text = model.encode(images(examples)), model.embed(prompt)
        with adapted(model, adapters, torch.ones_like):
            inversion = sampler.encode(model.denoiser(prompt, 1.0), x_0, grid, noise)
        x_t0 = inversion.latent.to(x_0)
        change = self._change(examples, adapters, model, block, x_t0, text, grid)

        def edited(x: Tensor, i: int) -> Tensor:
            """Add the change to every state that the sampler has at t_0, in its dtype."""
            return x + change.to(x) if i == 0 else x

        decoder = ReferenceDenoiser(model, self._reference(model), grid, inversion.states, text)
        with adapted(model, adapters, torch.ones_like):
            x = sampler.decode(decoder.eps, inversion.latent, grid, noise, edited, inversion)
        return model.decode(x)

    def _block(self, model: AttentionAccess) -> int:
        last = model.up_blocks - 1
        if self.block is not None and self.block > last:
            raise UserError(f"task.block={self.block}: the model has up blocks 0 to {last}")
        return max(0, last - 1) if self.block is None else self.block

    def _reference(self, model: AttentionAccess) -> Reference | None:
        blocks = self.reference_blocks
        return Reference(model.up_blocks - blocks) if blocks else None

    def _change(
        self,
        examples: Sequence[Example],
        adapters: Sequence[Adapter],
        model: AttentionAccess,
        block: int,
        x: Tensor,
        text: Tensor,
        grid: Grid,
    ) -> Tensor:
        """The change of x_t0 by the optimisation."""

        def lora(rows: Sequence[int]) -> AbstractContextManager[None]:
            some = [adapters[b] for b in rows] if adapters else ()
            return adapted(model, some, torch.ones_like)

        height, width = examples[0].image.shape[:2]
        size = (height // 2, width // 2)
        points = [on_map(example.drags, (height, width), size) for example in examples]
        settings = block, self.r_m, self.r_p, self.lam, self.lr, self.drag_steps
        motion = MotionSupervision(model, *settings, lora)
        outside = ~may_change(examples, x)
        return motion.optimise(x, text, grid, outside, points, size) - x

    def evaluations_per_image(self, steps: int) -> int:
        decode = 2 if self.reference_blocks else 1
        down = steps_below(self.t_0, steps) * decode
        return self.encode_evaluations(steps) + down + 2 * self.drag_steps

    def encode_evaluations(self, steps: int) -> int:
        return steps_below(self.t_0, steps)
