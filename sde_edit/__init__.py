"""Does randomness help in diffusion-based image editing, and by how much?

    import sde_edit as se

    ode, sde = se.run("task=inpaint", "sampler=ode,sde", limit=16)
    print(se.compare(sde, ode))

docs/python.md has the rest. Importing this module imports nothing else: each name is fetched when
it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sde_edit.diffusion.inversion import Inversion
    from sde_edit.diffusion.noise import Noise
    from sde_edit.diffusion.schedule import Grid
    from sde_edit.errors import UserError
    from sde_edit.places import use_folder as use_plugins
    from sde_edit.python.claims import Claims, claims
    from sde_edit.python.comparison import Comparison, Difference, compare
    from sde_edit.python.mathematics import grid, noise, sampler
    from sde_edit.python.pictures import edit
    from sde_edit.python.runs import Run, load, run, runs
    from sde_edit.python.tables import ResultTable, table

    __version__: str

__all__ = [
    "Claims",
    "Comparison",
    "Difference",
    "Grid",
    "Inversion",
    "Noise",
    "ResultTable",
    "Run",
    "UserError",
    "__version__",
    "claims",
    "compare",
    "edit",
    "grid",
    "load",
    "noise",
    "run",
    "runs",
    "sampler",
    "table",
    "use_plugins",
]

_HOMES = {
    **dict.fromkeys(("Run", "load", "run", "runs"), "python.runs"),
    **dict.fromkeys(("Claims", "claims"), "python.claims"),
    **dict.fromkeys(("Comparison", "Difference", "compare"), "python.comparison"),
    **dict.fromkeys(("grid", "noise", "sampler"), "python.mathematics"),
    **dict.fromkeys(("ResultTable", "table"), "python.tables"),
    "edit": "python.pictures",
    "Grid": "diffusion.schedule",
    "Inversion": "diffusion.inversion",
    "Noise": "diffusion.noise",
    "UserError": "errors",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sde-edit")
    if name == "use_plugins":
        return import_module("sde_edit.places").use_folder
    if name in _HOMES:
        return getattr(import_module(f"sde_edit.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
