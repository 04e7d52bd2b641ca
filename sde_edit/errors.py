"""Errors that the user can fix, and the words of their messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """Something that the user can fix: the message names the problem and the remedy."""


class NotFiniteError(UserError):
    """A network gave NaN or infinity; `rows` are the rows of the batch that have it.

    The engine adds what of the run's settings may help.
    """

    def __init__(self, message: str, rows: Sequence[int]) -> None:
        super().__init__(message)
        self.rows = rows


def first_problem(error: ValidationError) -> str:
    """Where a file is wrong and why, for the message of a UserError."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    no_object = first["type"] == "dataclass_type"  # whose message names one of our classes
    return f"{where}: {'Input should be an object' if no_object else first['msg']}"


def shown(name: str) -> str:
    """A name or text as it can be printed: what is not Unicode becomes \\udce9 and the like."""
    return name.encode("utf-8", "backslashreplace").decode()


def shortened(text: str, most: int) -> str:
    """A text from the data, cut to at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."
