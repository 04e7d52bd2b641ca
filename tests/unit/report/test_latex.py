"""Any text in LaTeX: escaped, and its braces balanced."""

from __future__ import annotations

import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sde_edit.report.latex import latex, latex_notes, tex_escape
from sde_edit.report.table import Block, Cell, Column, Row, RowKind, Table

SPECIAL = set("&%$#_{}~^\\")
TEXTS = st.text() | st.text("\\`{}&%$#_~^a ↑±", max_size=12)
# What may stand in the output: an escaped letter, a command, or a symbol in mathematics.
ESCAPED = re.compile(
    r"\\[&%$#_{}]|\\(?:text|nobreak)[a-z]+\{\}|\\symbol\{34\}|\\texttt\{|\$(?:[-<>|]|\\[a-z]+)\$"
)


@given(TEXTS)
def test_no_special_letter_is_left_unescaped(text):
    left = ESCAPED.sub("", tex_escape(text))
    assert set(left) & SPECIAL <= {"}"}  # the end of a \texttt
    assert left.count("}") == text.count("`") // 2


@given(TEXTS)
def test_braces_are_balanced(text):
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", re.sub(r"\\[{}]", "", tex_escape(text))):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0


@given(st.text(st.characters(exclude_characters="`", categories=["L", "Nd"])))
def test_letters_and_digits_stay(text):
    assert tex_escape(text) == text


def rows_of(tex: str) -> list[list[str]]:
    """The cells of every line of the tabulars but those that span columns."""
    lines = [re.sub(r"\*(\[.*\])?$", "", line) for line in tex.splitlines()]
    rows = [line.removesuffix(r" \\") for line in lines if line.endswith(r" \\")]
    return [row.split(" & ") for row in rows if "multicolumn" not in row]


def test_latex_is_balanced_and_escaped(table: Table) -> None:
    text = latex(table) + latex_notes(table)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    rows = rows_of(latex(table))
    assert rows
    assert len({len(row) for row in rows}) == 1
    assert "shapes FID" in text
    assert "shapes_fid" not in text
    assert "95 %" not in text
    assert r"95 \%" in text
    outside_comments = [line for line in text.splitlines() if not line.startswith("%")]
    assert "".join(outside_comments).isascii()


def row(label: str, *values: float | None, kind: RowKind = "arm", decimals: int = 1) -> Row:
    cells = (
        Cell(v, None if v is None else v - 1, v and v + 1, 9, decimals=decimals) for v in values
    )
    return Row(label, kind, tuple(cells))


def made(*blocks: Block, title: str = "Table 9: what it is") -> Table:
    columns = tuple(Column("", str(i)) for i, _ in enumerate(blocks[0].rows[0].cells))
    return Table("t", title, "steps", columns, blocks, ("A note.",))


def test_the_best_value_of_each_column_is_bold() -> None:
    rows = (row("A", 1.0, 2.04, 3.0, None), row("B", 2.0, 2.01, 3.0, 7.0))
    published = (row("Paper A", 5.0, 1.0, None, None, kind="paper"),)
    published += (row("Paper B", 4.0, 2.0, 3.0, 1.0, kind="paper"),)
    for higher, best in ((True, ["2.0"]), (False, ["1.0"]), (None, [])):
        tex = latex(made(Block("psnr", rows, higher)))
        assert re.findall(r"\\textbf\{(.*?)\}", tex) == best  # equal as shown: none is best
        assert ("Bold marks" in tex) == bool(best)
    tex = latex(made(Block("psnr", (*rows, *published), True)))
    assert re.findall(r"\\textbf\{(.*?)\}", tex) == ["2.0", "5.0", "2.0"]


def test_in_one_column_the_best_of_each_metric_is_bold_in_its_own_direction() -> None:
    blocks = (Block("psnr", (row("A", 1.0), row("B", 2.0)), True),)
    blocks += (Block("fid", (row("A", 3.0), row("B", 4.0)), False),)
    tex = latex(made(*blocks))
    assert re.findall(r"\\textbf\{(.*?)\}", tex) == ["3.0", "2.0"]
    assert r"PSNR $\uparrow$ & FID $\downarrow$" in tex


@pytest.mark.parametrize(
    ("title", "caption"),
    [
        ("Table 9: what it is", "What it is"),
        ("BDIA's Fig. 3: round-trip editing, 40 steps", "Round-trip editing, 40 steps"),
        ("Dragging: with LoRA", "Dragging: with LoRA"),
        ("Fig. 9: dragging over t_0", "Dragging over $t_0$"),
    ],
)
def test_a_caption_has_no_number_of_its_own(title: str, caption: str) -> None:
    tex = latex(made(Block("psnr", (row("A", 1.0),), True), title=title))
    assert rf"\caption[{{{caption}}}]{{{caption}. " in tex
    bare = Block("", (Row("A", "arm", (Cell(1.0),)),))
    assert rf"\caption[{{{caption}}}]{{{caption}.}}" in latex(made(bare, title=title))


def test_the_caption_of_a_table_without_title_begins_with_how_to_read_it() -> None:
    tex = latex(made(Block("psnr", (row("A", 1.0),), True), title=""))
    assert re.search(r"\\caption\[\{\}\]\{[A-Z]", tex)


def test_notes_are_in_a_file_of_their_own() -> None:
    block = Block("psnr", (row("A", 1.0, 2.0),), True, "A is better.", "in dB")
    assert "note" not in latex(made(block))
    notes = latex_notes(made(block))
    assert r"\ref{tab:t}" in notes
    assert re.findall(r"\\item (.*)", notes) == ["PSNR: A is better.", "PSNR: in dB.", "A note."]


def test_a_table_that_is_too_tall_goes_over_pages() -> None:
    short, long = (Block("psnr", (row("A", 1.0, 2.0),) * n, True) for n in (9, 60))
    assert r"\begin{table}" in latex(made(short))
    tex = latex(made(long))
    assert r"\begin{longtable}" in tex
    assert r"\usepackage{booktabs,longtable}" in tex


def test_columns_that_are_too_many_go_into_parts_of_equal_size() -> None:
    block = Block("psnr", (row("A", *(1000.0 + i for i in range(10)), decimals=2),), True)
    tex = latex(made(block))
    assert [len(cells) for cells in rows_of(tex)] == [6] * 6
    assert [cells[1:] for cells in rows_of(tex)[::3]] == [list("01234"), list("56789")]


def test_latex_escapes_every_special_letter() -> None:
    assert tex_escape("50 % & a_b #1 $x {y} ~ ^ \\") == (
        r"50 \% \& a\_b \#1 \$x \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert tex_escape("run `a_b`") == r"run \texttt{a\_b}"
