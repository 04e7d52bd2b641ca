"""Slow modules that are read when they are first used, not where an import names them.

`import torch` alone takes a second, and a command that finds nothing to compute uses none of it.
The standard library's LazyLoader would read such a module at the second statement that imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any

_READING = RLock()


def defer(*names: str) -> None:
    """From now on, let `import` of these modules only announce them: the first look at one of its
    attributes reads a module.

    It holds for the whole process, so it is for programs and not for libraries.
    """
    if not _deferred:
        sys.meta_path.insert(0, _Finder())
    _deferred.update(names)


_deferred: set[str] = set()


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.rpartition(".")[0] in _deferred and name in sys.modules and target is None:
            return ModuleSpec(name, _Present(sys.modules[name]))
        spec = PathFinder.find_spec(name, path, target) if name in _deferred else None
        if spec and spec.loader:
            spec.loader = _Announcing(spec.loader)
        return spec


class _Present(Loader):
    """Gives the submodule that came while its package was read, because it was asked for."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _Announcing(Loader):
    """In place of a loader, leaves a module unread."""

    def __init__(self, reader: Loader) -> None:
        self._reader = reader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._reader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__
        module.__spec__.loader = module.__loader__ = self._reader
        module.__spec__.loader_state = "unread"
        module.__class__ = _Announced


class _Announced(ModuleType):
    def __getattribute__(self, name: str) -> Any:
        if name in ("__spec__", "__class__"):  # which import statements and isinstance look up
            return ModuleType.__getattribute__(self, name)
        spec = ModuleType.__getattribute__(self, "__spec__")
        with _READING:  # other threads wait for the whole module
            if spec.loader_state == "unread":
                spec.loader_state = None  # while it is read, it looks itself up
                try:
                    spec.loader.exec_module(self)
                except BaseException:
                    spec.loader_state = "unread"  # the next look fails in the same way
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment]
        return ModuleType.__getattribute__(self, name)
