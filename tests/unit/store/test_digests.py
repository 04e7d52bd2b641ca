"""Digests of files, remembered between runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sde_edit.errors import UserError
from sde_edit.store.digests import _hash, file_digest, files_digest

pytestmark = pytest.mark.usefixtures("own_cache")


def test_files_are_hashed_once(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sde_edit.store.digests._SETTLED_NS", -(10**12))  # as if written long ago
    hashed: list[Path] = []
    monkeypatch.setattr(
        "sde_edit.store.digests._hash", lambda path: hashed.append(path) or _hash(path)
    )
    files = sorted((image_folder / "images").iterdir())
    first = files_digest(files, image_folder)
    assert files_digest(files[::-1], image_folder) == first
    assert hashed == files
    files[0].write_bytes(b"changed")
    assert files_digest(files, image_folder) != first
    assert hashed == [*files, files[0]]


def test_a_file_just_written_is_not_trusted_to_keep_its_times(
    image_folder: Path, tmp_path: Path
) -> None:
    file_digest(image_folder / "images" / "a.png")
    assert not (tmp_path / "cache" / "sde-edit" / "digests.json").exists()


@pytest.mark.parametrize("damage", ["{", "[]", '{"x": 3}', '{"x": [1, 2, 3]}'])
def test_a_damaged_memory_is_ignored(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr("sde_edit.store.digests._SETTLED_NS", -(10**12))
    memory = tmp_path / "cache" / "sde-edit" / "digests.json"
    memory.parent.mkdir(parents=True)
    memory.write_text(damage)
    expected = _hash(image_folder / "images" / "a.png")
    assert file_digest(image_folder / "images" / "a.png") == expected
    assert str(image_folder / "images" / "a.png") in json.loads(memory.read_text())


def test_a_memory_that_cannot_be_written_is_done_without(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sde_edit.store.digests._SETTLED_NS", -(10**12))
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(file_digest(image_folder / "images" / "a.png")) == 64


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone\.bin: No such file"):
        file_digest(tmp_path / "gone.bin")


def test_names_count_in_a_digest_of_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    first = files_digest([tmp_path / "a"], tmp_path)
    os.replace(tmp_path / "a", tmp_path / "b")
    assert files_digest([tmp_path / "b"], tmp_path) != first
