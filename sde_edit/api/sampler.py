"""The interface of samplers: decode, and encode for those that invert."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, get_args, runtime_checkable

from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.interface import refuse_unknown_names
from sde_edit.diffusion.denoiser import Denoiser, Project, no_edit
from sde_edit.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.api.example import Pixels
    from sde_edit.diffusion.inversion import Inversion
    from sde_edit.diffusion.noise import Noise
    from sde_edit.diffusion.schedule import Grid

InversionKind = Literal["none", "approximate", "exact"]


class Sampler(ABC):
    """Solves the reverse process on a grid of times. A plug-in's body is its equations.

    Subclasses are checked when they are defined: they must declare a version and a citation,
    override `encode` if and only if `inversion` says that they invert, and have no public names of
    their own but settings. Raises TypeError for a subclass that breaks one of these rules.
    """

    version: ClassVar[int]  # part of the run id: raise it when results change
    citation: ClassVar[Citation | None]  # None only for what no paper describes
    stochastic: ClassVar[bool] = False  # True: solves the SDE, and inverts by Cycle-SDE
    evaluations_per_step: ClassVar[int] = 1  # evaluations of eps in one step of decode
    # How close decode comes to what encode was given: "exact" is up to rounding.
    inversion: ClassVar[InversionKind] = "none"
    encodes_noiseless: ClassVar[bool] = True  # whether encode may start at alpha = 1, sigma = 0

    @property
    def encode_evaluations_per_step(self) -> int:
        """Evaluations of eps in one step of encode; by default as many as in one of decode."""
        return self.evaluations_per_step

    @property
    @abstractmethod
    def order(self) -> int:
        """Order of convergence in the step size; 0 without steps."""

    def check(  # noqa: B027
        self, *, inverts: bool, follows_source: bool, edits_states: bool
    ) -> None:
        """Raises UserError for settings that do not fit a task, which says all three in `Task`.

        By default all settings fit every task.
        """

    @abstractmethod
    def decode(
        self,
        eps: Denoiser,
        x_BCHW: Tensor,
        grid: Grid,
        noise: Noise,
        project: Project = no_edit,
        inversion: Inversion | None = None,
    ) -> Tensor:
        """From x at grid.t[0] to x at grid.t[-1]; `project(x, i)` is the task's edit at time i.

        inversion: what `encode` returned on the same grid; decode then returns to its source where
        neither x nor the prompt was edited.
        """

    def encode(self, eps: Denoiser, x_BCHW: Tensor, grid: Grid, noise: Noise) -> Inversion:
        """From x at grid.t[-1] to noise at grid.t[0]. Raises UserError if it does not invert."""
        raise UserError(f"{type(self).__name__} does not invert: use another, such as ode or sde")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        refuse_unknown_names(cls)
        for constant in ("version", "citation"):
            if not hasattr(cls, constant):
                raise TypeError(f"{cls.__name__}: declares no {constant}")
        if cls.inversion not in get_args(InversionKind):
            allowed = ", ".join(get_args(InversionKind))
            raise TypeError(f"{cls.__name__}.inversion={cls.inversion!r}: allowed: {allowed}")
        if (cls.inversion != "none") != (cls.encode is not Sampler.encode):
            has = "no encode" if cls.encode is Sampler.encode else "an encode"
            raise TypeError(f"{cls.__name__}: has {has}, but inversion={cls.inversion!r}")


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
