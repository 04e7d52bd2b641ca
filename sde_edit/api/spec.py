"""What identifies a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ComponentSpec:
    """One plug-in with its settings: `name` labels it in tables, `kind` finds its file."""

    name: str
    kind: str
    version: int
    params: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the images of a run, and nothing else; hashed into its run id.

    A choice of version 0 is a name alone, of what had no part in the images.
    """

    task: ComponentSpec
    sampler: ComponentSpec
    model: ComponentSpec
    data: ComponentSpec
    steps: int
    spacing: str
    last_sigma: str
    dtype: str
    seed: int

    @property
    def is_external(self) -> bool:
        """Whether another program made the images; model, steps, dtype and seed then say nothing
        of them, and of the task nothing but its name.
        """
        return self.model.version == 0
