"""Tables fit the page of a paper: the committed ones, whole and in part, set by LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from sde_edit.report.excerpt import Excerpt
from sde_edit.report.formats import from_json
from sde_edit.report.latex import latex, latex_notes
from sde_edit.report.table import Table
from tests.builders import ROOT

pytestmark = pytest.mark.skipif(
    not shutil.which("pdflatex"), reason="needs pdflatex (Debian: texlive-latex-recommended)"
)
COMMITTED = [
    from_json(file.read_text()) for file in sorted((ROOT / "results" / "tables").glob("*.json"))
]
PAGE = r"""\documentclass[%s]{article}
\usepackage[letterpaper, textwidth=5.5in, textheight=9in]{geometry}
\usepackage{booktabs,longtable}
\begin{document}
\listoftables
%s
\end{document}
"""
TOO_LARGE = re.compile(r"Overfull \\[hv]box \(([\d.]+)pt|Float too large for page by ([\d.]+)pt")


def too_large(parts: Iterable[str], folder: Path, options: str = "10pt") -> list[str]:
    """What juts out by more than a point, after as many passes as a longtable needs."""
    (folder / "paper.tex").write_text(PAGE % (options, "\n\\clearpage\n".join(parts)))
    for _ in range(3):
        done = subprocess.run(
            ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
            cwd=folder,
            capture_output=True,
            check=False,
        )
    text = done.stdout.decode(errors="replace")
    assert done.returncode == 0, text[-2000:]
    assert "undefined references" not in text
    return [found[0] for found in TOO_LARGE.finditer(text) if float(found[1] or found[2]) > 1]


def both(table: Table) -> str:
    return f"{latex(table)}\n{latex_notes(table)}"


def test_every_committed_table_and_its_notes_fit(tmp_path: Path) -> None:
    values = map(Excerpt(intervals=False).of, COMMITTED)
    assert not too_large([*map(both, COMMITTED), *map(latex, values)], tmp_path)
    numbers = re.findall(r"\\numberline \{(\d+)\}", (tmp_path / "paper.lot").read_text())
    assert list(map(int, numbers)) == list(range(1, 2 * len(COMMITTED) + 1))


@pytest.mark.slow
def test_the_size_of_the_documents_letters_does_not_matter(tmp_path: Path) -> None:
    assert not too_large(map(both, COMMITTED), tmp_path, options="12pt")


def test_what_does_not_fit_is_seen(tmp_path: Path) -> None:
    wide = r"\begin{tabular}{l}\rule{5.6in}{1pt}\end{tabular}"
    tall = r"\begin{table}\rule{1pt}{9.2in}\end{table}"
    assert [found.split()[0] for found in too_large([wide, tall], tmp_path)] == [
        "Overfull",
        "Float",
    ]
