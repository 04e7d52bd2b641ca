"""Errors that the user can fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """Something that the user can fix: the message names the problem and the remedy."""


class NotFiniteError(UserError):
    """A network gave NaN or infinity; `rows` are the rows of the batch that have it."""

    def __init__(self, message: str, rows: Sequence[int]) -> None:
        super().__init__(message)
        self.rows = rows


def first_problem(error: ValidationError) -> str:
    """Where a file is wrong and why, for the message of a UserError."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    return f"{where}: {first['msg']}"
