"""Image to image: encode under the source prompt or by adding noise, decode under the target's.

    task=roundtrip       invert            | change the prompt               BDIA's Alg. 2
    task=ddib            invert            | change the label                Su et al. 2022
    task=diffedit        invert            | change the prompt in a mask     Couairon et al. 2022
    task=cyclediffusion  noise, keep w'    | change the prompt               Wu and De la Torre 2022
    task=sdedit          noise             | change the prompt               Meng et al. 2021

Letters in tensor names: as in sde_edit/api; h, w of a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.preparation import NOTHING_PREPARED, Prepared
from sde_edit.api.sampler import Sampler
from sde_edit.api.task import Task
from sde_edit.diffusion.denoiser import Denoiser
from sde_edit.diffusion.forward import forward_process
from sde_edit.diffusion.guidance import rows_per_evaluation
from sde_edit.diffusion.inversion import Inversion
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid, steps_below
from sde_edit.editing.batch import (
    check_mask,
    check_prompts,
    check_share,
    images,
    latent_masks,
    prompts,
)
from sde_edit.editing.contrast_mask import ContrastMask
from sde_edit.errors import UserError
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor


@plugin
@dataclass(frozen=True)
class Translate(Task):
    """x_0 -> x_t0 -> x~_0 as in the paper's Sec. 3.1; the edit changes the condition.

    source_prompt, prompt, negative_prompt: templates, in which `{caption}` and `{target}` stand for
    the texts of the data set.
    source_guidance: guidance scale while encoding.
    guidance: guidance scale while decoding.
    t_0: the noise level up to which it encodes, as a share of T and of `steps`.
    way_up: how it encodes. invert: by the sampler's inversion (Cycle-SDE with `sampler=sde`);
    noise: by Eq. 7 alone, whose noise is not reused for decoding.
    region: where the image is edited; outside, the encoded states are kept. all: everywhere; mask:
    inside the example's mask; contrast: inside DiffEdit's mask.
    mask_maps: number of noise draws over which DiffEdit's mask averages.
    mask_t: time at which DiffEdit's mask is computed, as a share of T.
    mask_level: DiffEdit's mask is where eps of the two prompts differ by more than this multiple of
    the image's mean difference.

    DiffEdit divides by three times the mean, clamps to 1 and thresholds at 0.5, which is a
    mask_level of 1.5. Guidance scales all differences alike, so it does not change the mask; 1 is
    used.
    """

    source_prompt: str
    prompt: str
    negative_prompt: str = ""
    source_guidance: float = 3.0
    guidance: float = 3.0
    t_0: float = 1.0
    way_up: Literal["invert", "noise"] = "invert"
    region: Literal["all", "mask", "contrast"] = "all"
    mask_maps: int = 10
    mask_t: float = 0.5
    mask_level: float = 1.5
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.NIE2024BLESSING
    shares_encoding: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_share("task.t_0", self.t_0)
        check_share("task.mask_t", self.mask_t)
        if self.mask_maps < 1 or self.mask_level <= 0:
            raise UserError(
                f"task.mask_maps={self.mask_maps}, task.mask_level={self.mask_level}: "
                "must be at least 1, and above 0"
            )

    @property
    def inverts(self) -> bool:
        return self.way_up == "invert"

    @property
    def changes(self) -> str:
        where = "" if self.region == "all" else " inside a mask"
        return f"the prompt or label{where}"

    @property
    def uses_mask(self) -> bool:
        return self.region == "mask"

    @property
    def preparations(self) -> tuple[ContrastMask, ...]:
        if self.region != "contrast":
            return ()
        settings = self.mask_maps, self.mask_t, self.mask_level
        return (ContrastMask(self.source_prompt, self.prompt, *settings),)

    def check(self, example: Example) -> None:
        if self.inverts or self.region == "contrast":
            check_prompts(self, example, "source_prompt")
        check_prompts(self, example, "prompt", "negative_prompt")
        if self.uses_mask:
            check_mask(example)

    def edit(
        self,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
        prepared: Prepared = NOTHING_PREPARED,
    ) -> Tensor:
        t_0 = [self.t_0]
        (decode,) = self.edit_many(t_0, examples, model, sampler, grid, noise, prepared)
        return decode()

    def edit_many(
        self,
        t_0: Sequence[float],
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
        prepared: Prepared = NOTHING_PREPARED,
    ) -> list[Callable[[], Tensor]]:
        longest = grid.truncated(max(t_0))
        source = self._denoiser(self.source_prompt, self.source_guidance, examples, model)
        target = self._denoiser(self.prompt, self.guidance, examples, model)
        x_0 = model.encode(images(examples))
        inversion = self._encode(source, x_0, sampler, longest, noise)
        inside = self._inside(examples, x_0, prepared)

        def decode(t_0: float) -> Tensor:
            part = grid.truncated(t_0)
            own = inversion.tail(longest.steps - part.steps)

            def keep_outside(x: Tensor, i: int) -> Tensor:
                return torch.where(inside, x, own.states[i]) if inside is not None else x

            lead = own if self.inverts else None
            return model.decode(sampler.decode(target, own.latent, part, noise, keep_outside, lead))

        return [partial(decode, value) for value in t_0]

    def _denoiser(
        self, prompt: str, guidance: float, examples: Sequence[Example], model: Model
    ) -> Denoiser:
        negatives = prompts(self.negative_prompt, examples)
        return model.denoiser(prompts(prompt, examples), guidance, negatives)

    def _encode(
        self, eps: Denoiser, x_0: Tensor, sampler: Sampler, grid: Grid, noise: Noise
    ) -> Inversion:
        if not self.inverts:
            return Inversion(forward_process(x_0, grid, noise))
        return sampler.encode(eps, x_0, grid, noise)

    def _inside(
        self, examples: Sequence[Example], x_0: Tensor, prepared: Prepared
    ) -> Tensor | None:
        """Bool [B, 1, h, w]: where the image may change; None for everywhere."""
        if self.region == "all":
            return None
        if self.region == "contrast":
            masks = prepared[ContrastMask.name]
            examples = [replace(e, mask=mask) for e, mask in zip(examples, masks, strict=True)]
        return latent_masks(examples, x_0)

    def evaluations_per_image(self, steps: int) -> int:
        decode = steps_below(self.t_0, steps) * rows_per_evaluation(self.guidance)
        return self.encode_evaluations(steps) + decode

    def encode_evaluations(self, steps: int) -> int:
        each = rows_per_evaluation(self.source_guidance) if self.inverts else 0
        return steps_below(self.t_0, steps) * each
