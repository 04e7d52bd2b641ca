"""A table is not replaced by one that rests on fewer images or runs; its files change together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sde_edit.commands.table import publish_runs
from sde_edit.config import group_file
from sde_edit.errors import UserError
from sde_edit.report.formats import rendered
from sde_edit.report.table import Block, Cell, Column, Row, Table
from sde_edit.store.files import leftovers, write_together
from sde_edit.store.runs import Run, RunStore
from tests.builders import finished_run, make_spec

CONFIG = {
    "name": "t", "kind": "arms", "title": "T", "column": "steps",
    "runs": {"task": ["inpaint"], "steps": [25, 50]},
    "arms": [{"label": "ODE", "set": {"sampler": "ode"}}],
    "metrics": ["psnr"],
}  # fmt: skip


def runs_of(folder: Path, n: int, steps: tuple[int, ...] = (25, 50)) -> list[Run]:
    store = RunStore(folder)
    return [finished_run(store, make_spec(steps=s), {"psnr": 20.0 + s}, n=n) for s in steps]


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder / "tables").iterdir())}


@pytest.mark.parametrize(("n", "steps"), [(4, (25, 50)), (8, (25,))])
def test_fewer_images_or_runs_replace_nothing_without_force(
    tmp_path: Path, n: int, steps: tuple[int, ...]
) -> None:
    publish_runs("t", CONFIG, runs_of(tmp_path / "a", 8), tmp_path)
    before, fewer = content(tmp_path), runs_of(tmp_path / "b", n, steps)
    with pytest.raises(UserError, match=r"t\.json has \d cells .*psnr, ODE, .*--force"):
        publish_runs("t", CONFIG, fewer, tmp_path)
    assert content(tmp_path) == before
    publish_runs("t", CONFIG, fewer, tmp_path, force=True)
    assert content(tmp_path) != before


def test_as_many_replace_it_and_a_damaged_table_is_no_obstacle(tmp_path: Path) -> None:
    publish_runs("t", CONFIG, runs_of(tmp_path / "a", 8), tmp_path)
    before = content(tmp_path)
    publish_runs("t", CONFIG, runs_of(tmp_path / "b", 9), tmp_path)
    (tmp_path / "tables" / "t.json").write_bytes(b"")
    publish_runs("t", CONFIG, runs_of(tmp_path / "c", 8), tmp_path)
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["../t", "a/b", "/t", ".t"])
def test_a_table_cannot_be_named_out_of_its_folder(tmp_path: Path, name: str) -> None:
    cells = (Cell(1.0),)
    table = Table(name, "", "", (Column("", "x"),), (Block("", (Row("a", "arm", cells),)),))
    with pytest.raises(UserError, match="cannot name a file"):
        rendered(table, tmp_path / "tables")
    with pytest.raises(UserError, match="no table"):
        group_file("table", f"../table/{name}")
    with pytest.raises(UserError, match="no metric"):
        group_file("metric", "../metric/psnr")


def test_files_are_replaced_all_or_none(tmp_path: Path) -> None:
    files = {tmp_path / "a": b"1", tmp_path / "b": b"1"}
    write_together(files)
    (tmp_path / "in the way").write_bytes(b"")
    with pytest.raises(UserError, match="in the way"):
        write_together({tmp_path / "a": b"2", tmp_path / "in the way" / "b": b"2"})
    assert (tmp_path / "a").read_bytes() == b"1"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "in the way"]


def test_leftovers_are_old_temporary_files_only(tmp_path: Path) -> None:
    old, new = (tmp_path / f".x.png.{c * 12}.tmp" for c in "ab")
    for file in (old, new, tmp_path / "x.tmp", tmp_path / ".y.tmp"):
        file.write_bytes(b"")
        if file != new:
            os.utime(file, (0, 0))
    assert leftovers(tmp_path) == [old]
