"""Compute the tables of docs/theory.md anew and put them between the two marker comments there.

    python scripts/theory_numbers.py

Minutes on one core.
"""

from __future__ import annotations

from pathlib import Path

from sde_edit.theory import numbers

PAGE = Path(__file__).parents[1] / "docs" / "theory.md"
BEGIN, END = "<!-- numbers: begin -->\n", "<!-- numbers: end -->\n"


def replaced(page: str, tables: str) -> str:
    """The page with `tables` between its markers. Raises ValueError if a marker is missing."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def main() -> None:
    page = PAGE.read_text()
    PAGE.write_text(replaced(page, numbers()))
    print(PAGE)


if __name__ == "__main__":
    main()
