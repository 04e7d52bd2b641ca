"""Image to image: encode under the source prompt or by adding noise, decode under the target's.

    task=roundtrip       invert            | change the prompt               BDIA's Alg. 2
    task=ddib            invert            | change the label                Su et al. 2022
    task=diffedit        invert            | change the prompt in a mask     Couairon et al. 2022
    task=cyclediffusion  noise, keep w'    | change the prompt               Wu and De la Torre 2022
    task=sdedit          noise             | change the prompt               Meng et al. 2021

Letters in tensor names: as in sde_edit/api; h, w of a latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.preparation import NOTHING_PREPARED, Prepared
from sde_edit.api.sampler import Sampler
from sde_edit.api.task import Task
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
from sde_edit.editing.encoding import PromptEncoding
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
        grid = grid.truncated(self.t_0)
        if self.encoding:
            inversion = self.encoding(examples, model, sampler, grid, noise)
        else:
            inversion = Inversion(forward_process(model.encode(images(examples)), grid, noise))
        return self.edit_from(inversion, examples, model, sampler, grid, noise, prepared)

    @property
    def encoding(self) -> PromptEncoding | None:
        """None if it adds noise, which costs no evaluation."""
        if not self.inverts:
            return None
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
        negatives = prompts(self.negative_prompt, examples)
        target = model.denoiser(prompts(self.prompt, examples), self.guidance, negatives)
        inside = self._inside(examples, inversion.latent, prepared)

        def keep_outside(x: Tensor, i: int) -> Tensor:
            return x if inside is None else torch.where(inside, x, inversion.states[i])

        lead = inversion if self.inverts else None
        x = sampler.decode(target, inversion.latent, grid, noise, keep_outside, lead)
        return model.decode(x)

    def _inside(self, examples: Sequence[Example], x: Tensor, prepared: Prepared) -> Tensor | None:
        """Bool [B, 1, h, w]: where the image may change; None for everywhere."""
        if self.region == "all":
            return None
        if self.region == "contrast":
            masks = prepared[ContrastMask.name]
            examples = [replace(e, mask=mask) for e, mask in zip(examples, masks, strict=True)]
        return latent_masks(examples, x)

    def evaluations_per_image(self, steps: int) -> int:
        decode = steps_below(self.t_0, steps) * rows_per_evaluation(self.guidance)
        return self.encode_evaluations(steps) + decode

    def encode_evaluations(self, steps: int) -> int:
        each = rows_per_evaluation(self.source_guidance) if self.inverts else 0
        return steps_below(self.t_0, steps) * each
