"""Where plug-ins are: in this package, in installed distributions, in folders the user names.

A place is a folder with one file for each plug-in, `samplers/<kind>.py` and so on, and one config
for each name, `conf/<group>/<name>.yaml`. No place takes a kind or a name that another has. Finding
plug-ins imports none of them.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from sde_edit.errors import UserError

GROUPS = (
    *("tasks", "samplers", "models", "datasets", "metrics"),
    *("tables", "figures", "launchers"),
)
ENTRY_POINTS = "sde_edit.plugins"

_ROOT = Path(__file__).parent
# Where this package keeps groups that are part of a larger room.
_ROOMS = {"tables": "report.tables", "figures": "report.figures", "launchers": "engine.launchers"}


@dataclass(frozen=True)
class Place:
    """A folder of plug-ins. package: the name under which Python imports it."""

    folder: Path
    package: str
    conf: Path

    def kinds(self, group: str) -> dict[str, Path]:
        """Kind -> the file of its plug-in."""
        return {file.stem: file for file in sorted(self._files(group))}

    def _files(self, group: str) -> Iterator[Path]:
        return (self.folder / self._room(group).replace(".", "/")).glob("[!_]*.py")

    def _room(self, group: str) -> str:
        return _ROOMS.get(group, group) if self.folder == _ROOT else group

    def configs(self, group: str) -> dict[str, Path]:
        """Name -> its YAML file in `conf/<group>`."""
        return {file.stem: file for file in sorted((self.conf / group).glob("*.yaml"))}

    def module(self, group: str, kind: str) -> str:
        """The full name of the module of a plug-in."""
        return f"{self.package}.{self._room(group)}.{kind}"


# ------------------------------------------------------------------ the places there are
def places() -> tuple[Place, ...]:
    """This package, then the distributions that are installed, then the folders that are in use."""
    return (own(), *_installed(), *_in_use.values())


_in_use: dict[Path, Place] = {}  # of this process, by resolved folder


@cache
def own() -> Place:
    """This package. Its configs are inside it when it is installed, and beside it in a checkout."""
    inside = _ROOT / "conf"
    return Place(_ROOT, "sde_edit", inside if inside.is_dir() else _ROOT.parent / "conf")


@cache
def _installed() -> tuple[Place, ...]:
    """The packages that installed distributions name in the entry points `sde_edit.plugins`."""
    found: list[Place] = []
    for entry in entry_points(group=ENTRY_POINTS):
        place = _package_of(entry)
        _check(place, [own(), *found], f"the entry point {entry.name!r} of {ENTRY_POINTS}")
        found.append(place)
    return tuple(found)


def _package_of(entry: EntryPoint) -> Place:
    try:
        spec = find_spec(entry.value)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"the entry point {entry.name!r} of {ENTRY_POINTS} names {entry.value!r}, which is no "
            "package that can be imported: mend or uninstall its distribution"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    return Place(folder, entry.value, folder / "conf")


def use_folder(folder: str | Path) -> Place:
    """Find the plug-ins of a folder too, until this process ends; imports none of them.

    The code of such a folder runs when a plug-in is used: call it only with what the user named.
    Raises UserError for a folder without plug-ins, and for a kind or a name that exists already.
    """
    resolved = Path(folder).resolve()
    if resolved in _in_use:
        return _in_use[resolved]
    name = f"sde_edit_plugins_{hashlib.sha256(str(resolved).encode()).hexdigest()[:8]}"
    place = Place(resolved, name, resolved / "conf")
    _check(place, places(), f"plugins={folder}")
    package = ModuleType(name)
    package.__path__ = [str(resolved)]
    sys.modules[name] = package
    _in_use[resolved] = place
    return place


def is_in_use(folder: Path) -> bool:
    """Whether `use_folder` was called with it."""
    return folder.resolve() in _in_use


# ------------------------------------------------------------------ what a place must be
def _check(place: Place, others: Sequence[Place], said: str) -> None:
    """Raises UserError, which begins with `said`, for a place that cannot stand beside others."""
    if not place.folder.is_dir():
        raise UserError(f"{said}: {place.folder} is no folder")
    known = sorted(folder.name for folder in own().conf.iterdir() if folder.is_dir())
    for path in sorted(place.conf.glob("*")):
        if path.name not in known:
            raise UserError(
                f"{said}: {path} is none of the groups of configs, which are {', '.join(known)}"
            )
    kinds = [(f"{group[:-1]} kind", place.kinds(group), group) for group in GROUPS]
    names = [(group, place.configs(group), group) for group in known]
    if not any(files for _, files, _ in (*kinds, *names)):
        raise UserError(
            f"{said}: {place.folder} has no plug-ins. They are files such as samplers/mine.py and "
            "conf/sampler/mine.yaml"
        )
    for other in others:
        for what, files, group in kinds:
            _refuse_twice(said, what, files, other.kinds(group))
        for what, files, group in names:
            _refuse_twice(said, what, files, other.configs(group))


def _refuse_twice(said: str, what: str, files: dict[str, Path], existing: dict[str, Path]) -> None:
    for name, file in files.items():
        if name in existing:
            raise UserError(
                f"{said}: {what} {name!r} exists already: {file} and {existing[name]}. Rename the "
                "first; a plug-in replaces no other"
            )
