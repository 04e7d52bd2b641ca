"""File names of examples, for any id."""

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from sde_edit.errors import UserError
from sde_edit.store.files import safe_name, write_atomic

# Letters that names treat differently, beside all others.
IDS = st.text() | st.text("aA0._-/\\ é", max_size=6)


@given(IDS)
def test_a_name_stays_in_its_folder(tmp_path_factory, example_id):
    name = safe_name(example_id)
    folder = tmp_path_factory.getbasetemp()
    assert (folder / f"{name}.png").resolve().parent == folder.resolve()
    assert name
    assert name.isascii()
    assert len(name) < 120  # file systems take 255 bytes


@given(IDS, IDS)
def test_ids_that_differ_have_names_that_differ(one, other):
    assume(one != other)
    assert safe_name(one) != safe_name(other)


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,98}", fullmatch=True))
def test_a_plain_id_is_its_own_name(example_id):
    assert safe_name(example_id) == example_id


def test_names_stay_what_they_are_on_disk():
    assert safe_name("animal/bear") == "animal_bear-1a7b1da337"
    assert safe_name("") == "_-e3b0c44298"


def test_write_atomic_names_the_file_and_leaves_no_debris(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"paths\.results"):
        write_atomic(tmp_path / "file" / "x.png", b"")
    write_atomic(tmp_path / "d" / "x.png", b"1")
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["x.png"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", ".hidden", "", "x" * 300, "é", "a b"])
def test_safe_name_stays_in_its_folder_and_is_unique(name):
    safe = safe_name(name)
    assert "/" not in safe
    assert not safe.startswith(".")
    assert len(safe) < 120
    assert safe != safe_name(name + "x")
    assert safe_name("plain-1.0_a") == "plain-1.0_a"
