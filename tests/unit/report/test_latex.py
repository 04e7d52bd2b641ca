"""Any text in LaTeX: escaped, and its braces balanced."""

from __future__ import annotations

import re
from collections.abc import Iterator

import hypothesis.strategies as st
from hypothesis import given

from sde_edit.report.latex import latex, tex_escape
from sde_edit.report.table import Table

SPECIAL = set("&%$#_{}~^\\")
TEXTS = st.text() | st.text("\\`{}&%$#_~^a ↑±", max_size=12)
# What may stand in the output: an escaped letter, a command, or a symbol in mathematics.
ESCAPED = re.compile(r"\\[&%$#_{}]|\\text[a-z]+\{\}|\\texttt\{|\$(?:-|\\[a-z]+)\$")


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


def _tex_rows(text: str) -> Iterator[str]:
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    return (line for line in body.splitlines() if line.endswith(r"\\"))


def test_latex_is_balanced_and_escaped(table: Table) -> None:
    text = latex(table)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    spans = [line for line in _tex_rows(text) if "multicolumn{7}" not in line and "{3}" not in line]
    assert spans
    assert all(line.count(" & ") == 6 for line in spans)
    assert r"shapes\_fid" in text
    assert "shapes_fid" not in text
    assert "95 %" not in text
    assert r"95 \%" in text
    assert r"\texttt{sde-edit run task=inpaint" in text
    outside_comments = [line for line in text.splitlines() if not line.startswith("%")]
    assert "".join(outside_comments).isascii()


def test_latex_escapes_every_special_letter() -> None:
    assert tex_escape("50 % & a_b #1 $x {y} ~ ^ \\") == (
        r"50 \% \& a\_b \#1 \$x \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert tex_escape("run `a_b`") == r"run \texttt{a\_b}"
