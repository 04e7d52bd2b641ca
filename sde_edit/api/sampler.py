"""What a sampler owes: a way along a grid of times, and perhaps a way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from sde_edit.api.example import Example
from sde_edit.diffusion.denoiser import Denoiser, Project, Tape, keep

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.api.example import Pixels
    from sde_edit.diffusion.noise import Noise
    from sde_edit.diffusion.schedule import Grid


class Sampler(Protocol):
    """A way along a grid. Plug-ins are short: the mathematics is the body."""

    @property
    def evaluations_per_step(self) -> int:
        """Evaluations of eps that one step of decode costs."""

    @property
    def stochastic(self) -> bool:
        """Whether it solves the SDE; its way up is then noise, and its way back Cycle-SDE."""

    def decode(
        self,
        eps: Denoiser,
        x_BCHW: Tensor,
        grid: Grid,
        noise: Noise,
        project: Project = keep,
        tape: Tape = (),
    ) -> Tensor:
        """From x at grid.t[0] to x at grid.t[-1]; `project(x, i)` is the task's edit at time i.

        With the tape of `encode`, of the same grid: the way that the source came.
        """


@runtime_checkable
class Invertible(Sampler, Protocol):
    """A sampler with a way back."""

    exact: ClassVar[bool]  # whether decode returns what encode was given, up to rounding

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Tape:
        """From x at grid.t[-1] up to tape[0][0] at grid.t[0], and what leads back."""


@runtime_checkable
class ExternalOutputs(Protocol):
    """Images that another program made; they take the place of a sampler in the configuration."""

    def available(self, ids: Sequence[str], limit: int | None) -> Sequence[str]:
        """The ids that have an image, in order.

        Raises UserError if one of the first `limit` ids (None: all) lacks a required image.
        """

    def digest(self, ids: Sequence[str]) -> str:
        """Digest of the content of these images; part of the run id."""

    def read(self, example: Example) -> Pixels:
        """The image, uint8 [H, W, 3], as large as the example's. Raises UserError with the file."""
