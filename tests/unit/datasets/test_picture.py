"""A single picture: which files are taken, and what it is called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sde_edit.datasets.picture import Picture
from sde_edit.errors import UserError
from tests.builders import picture

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_picture_is_called_by_its_file_on_every_file_system(tmp_path: Path) -> None:
    file = tmp_path / "cafe\u0301.jpg"
    picture().save(file)
    data = Picture(str(file), 32)
    assert data.ids() == ["caf\u00e9"]
    assert data.load("caf\u00e9").image.shape == (32, 32, 3)
    assert (data.status().found, list(data.status().problems)) == (1, [])


def _nothing(path: Path) -> None:
    pass


def _text(path: Path) -> None:
    path.write_text("no picture")


@pytest.mark.parametrize(("make", "message"), [
    (_nothing, "no such file"), (Path.mkdir, "Is a directory"), (os.mkfifo, "is a pipe"),
    (_text, "cannot be read as an image"),
])  # fmt: skip
def test_what_is_no_picture_is_named(tmp_path: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "a.png"
    make(file)
    data = Picture(str(file), 32)
    with pytest.raises(UserError, match=rf"data\.image=.*a\.png: .*{message}"):
        data.ids()
    assert message in data.status().problems[0]
