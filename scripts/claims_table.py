"""Put the summary of all claims between the two marker comments of pages.

    sde-edit claims
    python scripts/claims_table.py README.md docs/claims.md

A page has the lines of BEGIN and END where the summary should be.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sde_edit.commands.claims import check_fit, judged_claims
from sde_edit.report.claim_forms import summary

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- claims: begin -->\n", "<!-- claims: end -->\n"


def refreshed(page: Path) -> str:
    """The page with the summary of the committed tables. Raises ValueError without markers, and
    UserError for a claim that does not fit its table."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    tables = os.path.relpath(ROOT / "results" / "tables", page.parent) + "/"
    judged = judged_claims([f"paths.results={ROOT / 'results'}"], ())
    check_fit(judged)
    return f"{before}{BEGIN}\n{summary(judged, tables)}\n\n{END}{after}"


def main() -> None:
    for name in sys.argv[1:]:
        page = Path(name).resolve()
        page.write_text(refreshed(page), encoding="utf-8")
        print(page)


if __name__ == "__main__":
    main()
