"""Caches have checksums: what is damaged is computed again, and digests are parsed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sde_edit.api.preparation import Preparation
from sde_edit.engine.memory import remembered_sizes
from sde_edit.errors import UserError
from sde_edit.store import digests
from sde_edit.store.digests import file_digest
from sde_edit.store.files import read_checked, write_checked
from sde_edit.store.preparation_cache import PreparationCache
from tests.builders import make_spec


class _Texts(Preparation):
    """Stores a text for each example, which is its own id here."""

    name, label, suffix = "texts", "", ".txt"

    def basis(self, spec: Any) -> Mapping[str, Any]:
        return {}

    def key(self, example: Any) -> str:
        return str(example)

    def compute(self, examples: Any, model: Any, grid: Any, noise: Any) -> Sequence[bytes]:
        raise NotImplementedError

    def read(self, content: bytes, example: Any) -> str:
        if content == b"no image":
            raise UserError("cannot be read as an image")
        return str(int(content))


def fill(cache: PreparationCache) -> list[str]:
    """The examples that were computed; every result must be right."""
    computed: list[str] = []

    def compute(examples: Sequence[Any]) -> Sequence[bytes]:
        computed.extend(examples)
        return [str(example).encode() for example in examples]

    examples: Any = ["1", "2", "3"]
    assert cache.fill(examples, compute) == examples
    return computed


@pytest.fixture
def cache(tmp_path: Path) -> PreparationCache:
    found = PreparationCache(tmp_path, make_spec(), _Texts())
    assert fill(found) == ["1", "2", "3"]
    return found


@pytest.mark.parametrize("content", [b"", b"9", b"x", None])
def test_damaged_preparations_are_computed_again(
    cache: PreparationCache, content: bytes | None
) -> None:
    file = cache.folder / "2.txt"
    assert fill(cache) == []
    file.unlink()
    if content is None:
        file.mkdir()
        file.rmdir()
    else:
        file.write_bytes(content)
    assert fill(cache) == ["2"]
    assert fill(cache) == []


def test_exchanged_and_unchecked_preparations(cache: PreparationCache) -> None:
    for name in ("1.txt", "1.txt.sha256"):
        other = cache.folder / name.replace("1.", "2.", 1)
        first, second = (cache.folder / name).read_bytes(), other.read_bytes()
        (cache.folder / name).write_bytes(second)
        other.write_bytes(first)
    assert fill(cache) == ["1", "2"]
    for file in cache.folder.glob("*.sha256"):  # as an older version left them
        file.unlink()
    assert fill(cache) == []
    for content in (b"x", b"no image"):
        (cache.folder / "3.txt.sha256").unlink()
        (cache.folder / "3.txt").write_bytes(content)
        assert fill(cache) == ["3"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": NaN}', b'{"a": 1}', b"\xff" * 9])
def test_a_damaged_memory_is_empty(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "chunks.json"
    write_checked(file, {"a": 4, "b": 0})
    assert read_checked(file) == {"a": 4, "b": 0}
    assert remembered_sizes(file) == {"a": 4}
    file.write_bytes(content)
    assert remembered_sizes(file) == {}
    file.unlink()
    assert remembered_sizes(file) == {}


def test_digests_are_parsed_once(
    tmp_path: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**18))
    parsed: list[Path] = []
    monkeypatch.setattr(digests, "read_checked", lambda file: parsed.append(file) or {})
    files = [tmp_path / str(k) for k in range(5)]
    for file in files:
        file.write_bytes(b"x")
    write_checked(tmp_path / "cache" / "sde-edit" / "digests.json", {})
    monkeypatch.setattr(digests, "_update_cache", lambda new: None)
    for file in files:
        file_digest(file)
    assert len(parsed) == 1
