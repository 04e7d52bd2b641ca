"""The specification of a run, which identifies it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sde_edit.errors import UserError

_SHORT_DTYPES = {
    **{"fp16": "float16", "half": "float16", "bf16": "bfloat16"},
    **{"fp32": "float32", "float": "float32", "fp64": "float64", "double": "float64"},
}


@dataclass(frozen=True)
class ComponentSpec:
    """A plug-in with its settings. `name` labels it in tables, `kind` names its file."""

    name: str
    kind: str
    version: int
    params: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True)
class RunSpec:
    """Everything that determines the images of a run, and nothing else; its hash is the run id.

    Version 0 marks a component that is only a label: it did not influence the images.

    defaults: component -> settings that its params leave out because they have their defaults
    (`UNLESS_DEFAULT` in `sde_edit/registry.py`). They tell a reader what the run had, and are part
    neither of its identity nor of equality. Runs that older versions stored lack them.
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
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)

    def identity(self) -> dict[str, Any]:
        """What the run id covers, as plain values."""
        return {key: value for key, value in asdict(self).items() if key != "defaults"}

    @property
    def is_external(self) -> bool:
        """Whether another program made the images.

        Then model, steps, dtype and seed have no meaning, and the task is only a name.
        """
        return self.model.version == 0


def dtype_name(name: str, *, key: str = "dtype", also: Sequence[str] = ()) -> str:
    """The name under which specs store a dtype; takes short names such as bf16.

    Raises UserError with the allowed names. key: the setting that gives it. also: what else the
    setting may be, for the message.
    """
    full = _SHORT_DTYPES.get(name, name)
    stored = list(dict.fromkeys([*_SHORT_DTYPES.values()]))
    if full not in stored:
        raise UserError(
            f"{key}={name!r}: allowed are {', '.join([*also, *stored])}, "
            f"or in short {', '.join(_SHORT_DTYPES)}"
        )
    return full
