"""Names of files that are the same on every file system."""

from __future__ import annotations

from pathlib import Path

from sde_edit.imaging.names import composed, is_unicode, key, stem


def test_ids_are_composed_and_keep_their_capitals() -> None:
    assert composed("Cafe\u0301") == "Caf\u00e9"
    assert stem(Path("x/Y/A.b.JPG"), Path("x")) == "Y/A.b"


def test_names_that_some_file_system_takes_for_one_have_one_key() -> None:
    same = ["CAFE\u0301", "caf\u00e9", "Cafe\u0301", "CAF\u00c9"]
    assert len(set(map(key, same))) == 1
    assert len(set(map(key, ["cafe", "caf\u00e9", "cafe "]))) == 3


def test_bytes_that_are_not_utf_8_are_told_from_letters() -> None:
    assert is_unicode("caf\u00e9 \U0001f600")
    assert not is_unicode("caf\udce9")
