"""What is computed for each example before it is edited, and cached: a mask, a LoRA."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from sde_edit.api.example import Example
from sde_edit.api.model import Model
from sde_edit.api.spec import RunSpec

if TYPE_CHECKING:
    from sde_edit.diffusion.noise import Noise
    from sde_edit.diffusion.schedule import Grid

Prepared = Mapping[str, Sequence[Any]]  # name of a preparation -> its result for each example
NOTHING_PREPARED: Prepared = MappingProxyType({})


class Preparation(ABC):
    """One result per example, stored as a file in the cache. Runs that agree in `basis` share it.

    The files are <cache>/<name>/<hash of the basis>/<key><suffix>.
    """

    name: ClassVar[str]  # the key in `Prepared`, and the folder in the cache
    label: ClassVar[str]  # shown in the progress bar while it is computed
    suffix: ClassVar[str]  # of a file, such as .png
    kept_in_run: ClassVar[bool] = False  # whether every run keeps copies, in its folder <name>
    own_chunks: ClassVar[bool] = False  # whether it needs smaller batches than the edit

    @property
    def notice(self) -> str:
        """What the user should know before it starts; "" for nothing."""
        return ""

    def check(self, model: Model, spec: RunSpec) -> None:
        """Raises UserError if it cannot be computed with this model, which `spec` names."""
        return

    @abstractmethod
    def basis(self, spec: RunSpec) -> Mapping[str, Any]:
        """Everything that a result depends on, except the example."""

    @abstractmethod
    def key(self, example: Example) -> str:
        """Identifies the example: it names the file and seeds the noise."""

    @abstractmethod
    def compute(
        self, examples: Sequence[Example], model: Model, grid: Grid, noise: Noise
    ) -> Sequence[bytes]:
        """The content of each example's file. Each depends on its own example only.

        `noise` has the keys as its example ids. Raises UserError for a result that cannot be used.
        """

    @abstractmethod
    def read(self, content: bytes, example: Example) -> Any:
        """The result that `Task.edit` receives, from the content of the example's file."""
