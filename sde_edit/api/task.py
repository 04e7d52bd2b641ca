"""The interface of tasks. A task owns the edit; samplers only move between noise levels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from sde_edit.api.citation import Citation
from sde_edit.api.example import Example
from sde_edit.api.interface import refuse_unknown_names
from sde_edit.api.model import Model
from sde_edit.api.preparation import NOTHING_PREPARED, Preparation, Prepared
from sde_edit.api.sampler import Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.diffusion.inversion import Inversion
    from sde_edit.diffusion.noise import Noise
    from sde_edit.diffusion.schedule import Grid


Size = tuple[int, int]  # (h, w) of a latent


class Encoding(Protocol):
    """How a task takes images to noise: a hashable value, equal for tasks that do it alike."""

    def __call__(
        self,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
    ) -> Inversion:
        """The examples at every time of the grid; no noise is drawn but by the sampler."""


class Task(ABC):
    """Takes examples and returns edited images.

    A plug-in implements the abstract members and overrides the defaults of the optional
    capabilities that it has. Its dataclass fields are its settings.

    Subclasses are checked when they are defined: they must declare a citation, have the methods of
    exactly the capabilities that they declare, and add no public name of their own but settings, so
    that a misspelt method is an error. A subclass that breaks one of these rules raises TypeError.
    """

    version: ClassVar[int]  # part of the run id: raise it when results change
    citation: ClassVar[Citation | None]  # None only for what no paper describes
    cost_varies: ClassVar[bool] = False  # whether some examples cost more than others
    shares_encoding: ClassVar[bool] = False  # whether runs with equal encodings share them

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        refuse_unknown_names(cls)
        if not hasattr(cls, "citation"):
            raise TypeError(f"{cls.__qualname__}: declares no citation")
        _refuse_half_capabilities(cls)

    @property
    @abstractmethod
    def inverts(self) -> bool:
        """Whether it needs a sampler that inverts."""

    @property
    @abstractmethod
    def changes(self) -> str:
        """What the edit changes between encoding and decoding, in words."""

    @property
    @abstractmethod
    def uses_mask(self) -> bool:
        """Whether it needs the example's mask; contact sheets then show what the mask hides."""

    @abstractmethod
    def check(self, example: Example) -> None:
        """Raises UserError if this task cannot edit the example."""

    @abstractmethod
    def edit(
        self,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
        prepared: Prepared = NOTHING_PREPARED,
    ) -> Tensor:
        """uint8 [B, H, W, 3], one image per example, in order.

        prepared: the results of `preparations` for these examples, by name.
        """

    @abstractmethod
    def evaluations_per_image(self, steps: int) -> int:
        """Rows of the network that one image costs if a step costs one evaluation of eps.

        Preparations are not counted. If costs vary, this is the cost of the cheapest example.
        """

    # -- optional: restrictions and preparations

    def without_effect(self, example: Example) -> Collection[str]:
        """Messages on settings that do not act on the example.

        A message on which all examples of the data set agree is an error.
        """
        return ()

    @property
    def samplers(self) -> Sequence[str]:
        """The kinds of samplers that it works with; () for all."""
        return ()

    @property
    def follows_source(self) -> bool:
        """Whether `decode` may ask the network only at times where a step starts.

        So it is for tasks that show the network the source's state beside that of the edit.
        """
        return False

    @property
    def edits_states(self) -> bool:
        """Whether it changes noisy states themselves, and not only what the network is asked."""
        return False

    def check_model(self, model: Model) -> None:  # noqa: B027
        """Raises UserError if the loaded model lacks what the task needs.

        It is called before anything is prepared or evaluated.
        """

    @property
    def preparations(self) -> Sequence[Preparation]:
        """What must be computed for each example before `edit`."""
        return ()

    # -- optional: costs and settings that depend on the example

    def evaluations_of(self, example: Example, steps: int, size: Size, native: Size) -> int:
        """The cost of an example that `check` accepts, counted as in `evaluations_per_image`.

        size: (h, w) of its latent. native: that of the image size for which the model was made.
        Override it together with `cost_varies`.
        """
        return self.evaluations_per_image(steps)

    def derived_settings(self, native: Size) -> str:
        """A message on settings that follow from `native`; "" for none."""
        return ""

    def encode_evaluations(self, steps: int) -> int:
        """The share of `evaluations_per_image` that `sampler.encode` costs, in rows of the network.

        Override it in a task that inverts: some samplers need more evaluations to encode.
        """
        return 0

    def encode_evaluations_of(self, example: Example, steps: int, size: Size, native: Size) -> int:
        """The share of `evaluations_of` that `sampler.encode` costs.

        Override it together with `cost_varies` in a task that inverts.
        """
        return self.encode_evaluations(steps)

    # -- optional: one encoding for several runs

    @property
    def t_0(self) -> float:
        """The noise level up to which it encodes, as a share of T."""
        return 1.0

    @property
    def encoding(self) -> Encoding | None:
        """How it encodes, up to t_0; None for settings with which it shares nothing.

        Runs whose encodings are equal, whatever their tasks, encode once, up to the largest t_0.
        Override it together with `shares_encoding`.
        """
        return None

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
        """The images of `edit`, from what `encoding` gave on this grid, which starts at t_0.

        No noise is drawn but by the sampler. Override it together with `shares_encoding`.
        """
        raise TypeError(f"{type(self).__name__} does not share its encoding")


_METHODS_OF = {  # what a capability needs
    "cost_varies": ("evaluations_of",),
    "shares_encoding": ("encoding", "edit_from"),
}


def _refuse_half_capabilities(cls: type[Task]) -> None:
    """Raises TypeError unless the class declares a capability exactly if it has its methods."""
    for flag, methods in _METHODS_OF.items():
        missing = [name for name in methods if getattr(cls, name) is getattr(Task, name)]
        if getattr(cls, flag) and missing:
            raise TypeError(f"{cls.__qualname__}.{flag} needs {' and '.join(missing)}")
        if not getattr(cls, flag) and len(missing) < len(methods):
            has = " and ".join(name for name in methods if name not in missing)
            raise TypeError(f"{cls.__qualname__} has {has}, so set {flag} = True")
