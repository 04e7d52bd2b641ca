"""Any text in LaTeX: escaped, and its braces balanced."""

import re

import hypothesis.strategies as st
from hypothesis import given

from sde_edit.report.latex import tex_escape

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
