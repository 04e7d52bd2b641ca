"""Errors that the user can mend."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """Something the user can mend: the message names the thing and the remedy."""


class NotFiniteError(UserError):
    """A network gave NaN or infinity; `rows` are the rows of the batch that have it."""

    def __init__(self, message: str, rows: Sequence[int]) -> None:
        super().__init__(message)
        self.rows = rows
