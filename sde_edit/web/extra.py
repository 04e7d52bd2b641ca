"""The packages of the extra `web`, which only the pages need."""

from __future__ import annotations

from importlib.util import find_spec

from sde_edit.errors import UserError

_PACKAGES = ("jinja2", "starlette", "uvicorn")


def require_web(command: str) -> None:
    """Raises UserError if a package is missing that the command's pages need."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(
            f"`sde-edit {command}` needs {' and '.join(missing)}: pip install 'sde-edit[web]'"
        )
