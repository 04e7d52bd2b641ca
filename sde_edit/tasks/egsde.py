"""EGSDE: noise the image, and decode with energies that hold on to it and let go of its domain.

code        paper (Zhao et al. 2022, Eq. 4 to 9 and Alg. 1)
y           y, the sample
x           x, the source noised to the same time
E_s, E_i    the realism expert's energy, the faithfulness expert's
P           the low-pass filter

Letters in tensor names: as in sde_edit/api; h, w of a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.model import DomainFeatures, Model
from sde_edit.api.preparation import NOTHING_PREPARED, Prepared
from sde_edit.api.sampler import Sampler
from sde_edit.api.task import Task
from sde_edit.diffusion import host
from sde_edit.diffusion.forward import add_noise
from sde_edit.diffusion.guidance import rows_per_evaluation
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Grid, steps_below
from sde_edit.editing.batch import check_prompts, check_share, images, prompts
from sde_edit.errors import UserError
from sde_edit.registry import plugin

if TYPE_CHECKING:
    from torch import Tensor

_LOW_PASS = 8  # as published: 256 pixels, shrunk 32 times


@plugin
@dataclass(frozen=True)
class EGSDE(Task):
    """Energy-guided SDE (Zhao et al. 2022): SDEdit whose score has the gradient of two energies,

        eps(y, t) + sqrt(1 - alpha_t) grad_y (realism E_s(y, x, t) + faithfulness E_i(y, x)).

    E_s is the cosine between the features of y and of x in a classifier of noisy images, averaged
    over positions: to lower it is to leave the source's domain. E_i = |P y - P x|^2, where P leaves
    the low frequencies. x is the source with the noise from which y starts, at the time of y.

    prompt, negative_prompt: templates for the target's domain, in which `{caption}` and `{target}`
    stand for the texts of the data set.
    guidance: guidance scale; the published networks have no condition, which is 1.
    t_0: the noise level from which it decodes, as a share of T and of `steps`.
    realism, faithfulness: the weights of the energies (published: lambda_s, lambda_i). The gradient
    of E_s is the smaller, the more values a state has.
    low_pass: side of the map to which P shrinks a state before it enlarges it again.

    P shrinks and enlarges by bicubic interpolation with antialiasing. The gradients are not counted
    as evaluations.
    """

    prompt: str
    negative_prompt: str = ""
    guidance: float = 1.0
    t_0: float = 0.5
    realism: float = 500.0
    faithfulness: float = 2.0
    low_pass: int = _LOW_PASS
    version: ClassVar[int] = 1
    citation: ClassVar[Citation] = papers.ZHAO2022EGSDE
    uses_mask: ClassVar[bool] = False
    inverts: ClassVar[bool] = False
    changes: ClassVar[str] = "the domain, by energies at every step"

    def __post_init__(self) -> None:
        check_share("task.t_0", self.t_0)
        for key in ("realism", "faithfulness"):
            if getattr(self, key) < 0:
                raise UserError(f"task.{key}={getattr(self, key)}: must be 0 or more")
        if self.low_pass < 1:
            raise UserError(f"task.low_pass={self.low_pass}: must be at least 1")
        if not self.faithfulness and self.low_pass != _LOW_PASS:
            raise UserError(
                f"task.low_pass={self.low_pass} has no effect without task.faithfulness"
            )

    def check(self, example: Example) -> None:
        check_prompts(self, example, "prompt", "negative_prompt")

    def check_model(self, model: Model) -> None:
        if self.realism:
            _with_features(model)
        side = min(model.latent_shape[1:])
        if self.low_pass > side:
            raise UserError(
                f"task.low_pass={self.low_pass} would enlarge the model's states of {side} x "
                f"{side} cells: give at most {side}"
            )

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
        x_0 = model.encode(images(examples))
        e = noise.like(x_0, "source")
        negatives = prompts(self.negative_prompt, examples)
        eps = model.denoiser(prompts(self.prompt, examples), self.guidance, negatives)

        def with_energy(x_BCHW: Tensor, t_B: Tensor) -> Tensor:
            alpha, y = grid.alpha_at(float(host.read(t_B)[0])), x_BCHW
            slope = self._slope(model, y, add_noise(x_0, e, alpha), t_B)
            guided: Tensor = eps(y, t_B) + (1 - alpha) ** 0.5 * slope
            return guided

        y = sampler.decode(with_energy, add_noise(x_0, e, grid.alpha[0]), grid, noise)
        return model.decode(y)

    def _slope(self, model: Model, y: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """grad_y of both energies."""
        slope = torch.zeros_like(y)
        if self.realism:
            features = _with_features(model).domain_features
            slope += self.realism * _gradient(
                lambda y, x: _cosine(features(y, t), features(x, t)), y, x
            )
        if self.faithfulness:
            slope += self.faithfulness * _gradient(self._distance, y, x)
        return slope

    def _distance(self, y: Tensor, x: Tensor) -> Tensor:
        """E_i of each row; P is linear, so it takes the difference."""
        small = torch.nn.functional.interpolate(
            y - x, (self.low_pass, self.low_pass), mode="bicubic", antialias=True
        )
        passed: Tensor = torch.nn.functional.interpolate(small, y.shape[2:], mode="bicubic")
        return passed.square().sum((1, 2, 3))

    def evaluations_per_image(self, steps: int) -> int:
        return steps_below(self.t_0, steps) * rows_per_evaluation(self.guidance)


def _cosine(features_y: Tensor, features_x: Tensor) -> Tensor:
    """E_s of each row, from features [B, D, h', w']."""
    return torch.nn.functional.cosine_similarity(features_y, features_x, dim=1).mean((1, 2))


def _gradient(energy: Callable[[Tensor, Tensor], Tensor], y: Tensor, x: Tensor) -> Tensor:
    """grad_y energy(y, x), row by row."""
    with torch.inference_mode(False), torch.enable_grad():
        y, x = y.clone().requires_grad_(), x.clone()  # tensors of inference mode take no gradients
        return torch.autograd.grad(energy(y, x).sum(), y)[0]


def _with_features(model: Model) -> DomainFeatures:
    """The model, if it has a classifier. Raises UserError if it has none."""
    if not isinstance(model, DomainFeatures):
        raise UserError(
            "task=egsde with task.realism above 0 needs a model with a classifier of noisy images: "
            "use model=adm or shapes_classifier, or task.realism=0"
        )
    return model
