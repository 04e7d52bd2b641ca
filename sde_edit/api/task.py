"""What a task owes: it owns the edit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sde_edit.api.example import Example
from sde_edit.api.model import LoraSettings, Model
from sde_edit.api.sampler import Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.diffusion.noise import Noise
    from sde_edit.diffusion.schedule import Grid


class Task(Protocol):
    """Owns the edit: takes examples, gives images."""

    @property
    def inverts(self) -> bool:
        """Whether it needs a sampler with a way back."""

    @property
    def changes(self) -> str:
        """What the edit changes between the way up and the way down, in words."""

    @property
    def uses_mask(self) -> bool:
        """Whether it looks at the mask; contact sheets show what it hides."""

    def check(self, example: Example) -> None:
        """Raises UserError if the example cannot be edited by this task."""

    def edit(
        self,
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
    ) -> Tensor:
        """uint8 [B, H, W, 3], one image per example, in order."""

    def evaluations_per_image(self, steps: int) -> int:
        """Rows of the network that one image costs with one evaluation of eps per step."""


@runtime_checkable
class Selective(Task, Protocol):
    """A task that works with some samplers only."""

    @property
    def samplers(self) -> Sequence[str]:
        """Their kinds; () for all."""


@runtime_checkable
class CostsByExample(Task, Protocol):
    """A task whose images differ in what they cost; evaluations_per_image is of the cheapest.

    size: (h, w) of the latent.
    """

    def evaluations_of(self, example: Example, steps: int, size: tuple[int, int]) -> int:
        """As evaluations_per_image, of an example that `check` takes."""

    def follows(self, size: tuple[int, int]) -> str:
        """The settings that it takes from the size, for a message; "" for none."""


@runtime_checkable
class SharesWayUp(Task, Protocol):
    """A task whose runs share the way up if they differ in `t_0` alone."""

    @property
    def t_0(self) -> float:
        """How far up it goes, as a share of T."""

    def evaluations_up(self, steps: int) -> int:
        """Of evaluations_per_image, those of the way up."""

    def edits(
        self,
        t_0: Sequence[float],
        examples: Sequence[Example],
        model: Model,
        sampler: Sampler,
        grid: Grid,
        noise: Noise,
    ) -> list[Callable[[], Tensor]]:
        """The way up, gone once, and what gives the images of each t_0, in any order: the very
        images that `edit` gives of a task with that t_0."""


@runtime_checkable
class FindsMask(Task, Protocol):
    """A task that finds a mask by itself; `edit` sees it as the mask of the example."""

    @property
    def finds_mask(self) -> bool:
        """Whether it does, as it is set."""

    def mask_settings(self) -> Mapping[str, Any]:
        """What the masks depend on, beside model, data, grid, dtype and seed."""

    def find_masks(
        self, examples: Sequence[Example], model: Model, grid: Grid, noise: Noise
    ) -> Tensor:
        """Bool [B, h, w] at the size of the latent, each from its own example alone."""


@runtime_checkable
class FitsLora(Task, Protocol):
    """A task that has the network fitted to each image first; `edit` sees the LoRA as that of the
    example."""

    @property
    def lora(self) -> LoraSettings | None:
        """None: no LoRA."""

    def lora_prompts(self, examples: Sequence[Example]) -> Sequence[str]:
        """What each image shows."""
