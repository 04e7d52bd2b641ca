"""Texts as overrides, read back by Hydra's parser."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sde_edit.api.override import override
from sde_edit.config import parsed

# Hydra's grammar gives these a meaning.
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("\\'\"${}[](), =:\n\tab")
# Not the smallest floats: torch may have switched them off in this process.
FLOATS = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
NUMBERS = st.integers() | FLOATS
VALUES = TEXTS | NUMBERS | st.booleans() | st.none()


@given(TEXTS)
def test_any_text_survives_as_an_override(text):
    assert parsed([override("data.caption", text)]) == {"data.caption": text}


@given(VALUES)
def test_any_plain_value_survives_as_an_override(value):
    (read,) = parsed([override("task.x", value)]).values()
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["\\", "\\\n", '\\"', '\\\\"\n'])
def test_backslashes_at_the_end_survive(text):
    assert parsed([override("data.caption", text)]) == {"data.caption": text}
