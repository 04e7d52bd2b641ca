"""A table is not replaced by one that rests on fewer images or runs; its files change together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.commands.foreseen import rehearse_tables
from sde_edit.commands.table import publish_runs
from sde_edit.config import experiment, group_file
from sde_edit.errors import UserError
from sde_edit.report.formats import rendered
from sde_edit.report.table import Block, Cell, Column, Row, Table
from sde_edit.store.files import leftovers, write_together
from sde_edit.store.runs import Run, RunStore
from tests.builders import add_images, add_score, finished_run, make_spec, picture

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


# ------------------------------------------------------------------ before the runs of a sweep


@pytest.fixture
def overrides(tmp_path: Path) -> list[str]:
    """Of runs of three images, which are never made."""
    (tmp_path / "images").mkdir()
    for seed in range(3):
        picture(8, 8, seed).save(tmp_path / "images" / f"{seed}.png")
    data = ("data=folder", f"data.images={tmp_path / 'images'}", "data.resolution=8")
    return ["model=gmm", "task.prompt=", *data, f"paths.results={tmp_path}"]


@pytest.mark.parametrize(
    ("steps", "changes"),
    [
        ((25, 50), ["data.limit=2"]),
        ((25,), []),
        ((25, 50), ["metrics=[ssim]"]),
    ],
    ids=["images", "runs", "metrics"],
)
def test_a_loss_is_foreseen_from_the_plan(
    tmp_path: Path, overrides: list[str], steps: tuple[int, ...], changes: list[str]
) -> None:
    task = ["task=reconstruct", "sampler=ode", "metrics=[psnr]"]
    config = CONFIG | {"runs": {"task": ["reconstruct"], "steps": [25, 50]}}
    both = [experiment([*task, *overrides, f"steps={s}"]) for s in (25, 50)]
    made = [finished_run(RunStore(tmp_path / "a"), e.spec, {"psnr": 20.0}, n=3) for e in both]
    publish_runs("t", config, made, tmp_path)
    rehearse_tables(both, {"t": config}, tmp_path)
    fewer = [experiment([*task, *overrides, f"steps={s}", *changes]) for s in steps]
    with pytest.raises(UserError, match=r"t\.json has \d cells .*psnr, ODE, .*--force"):
        rehearse_tables(fewer, {"t": config}, tmp_path)


def test_more_images_that_a_seal_holds_are_no_loss(tmp_path: Path, overrides: list[str]) -> None:
    config = CONFIG | {"runs": {"task": ["reconstruct"], "steps": [25]}}
    given = ["task=reconstruct", "sampler=ode", "metrics=[psnr]", "steps=25", *overrides]
    chosen = experiment([*given, "data.limit=2"])
    run = RunStore(tmp_path).open(chosen.spec)
    add_images(run, chosen.dataset.ids())
    add_score(run, "psnr", 20.0)
    publish_runs("t", config, [run], tmp_path)
    rehearse_tables([chosen], {"t": config}, tmp_path)


SEEDS: dict[str, Any] = {"sampler": "sde", "seed": [0, 1]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"arms": [{"label": "SDE", "set": SEEDS, "keep": "ssim"}]},
            "runs .* have ssim",
        ),
        ({"arms": [{"label": "SDE", "set": SEEDS}], "average": None}, "several values of seed"),
        ({"baseline": "DDIM"}, "no arm is labelled 'DDIM'"),
        ({"figure": {"kind": "curves", "metrics": ["ssim"]}}, "no measured cell of ssim to draw"),
    ],
    ids=["keep", "average", "baseline", "figure"],
)
@pytest.mark.parametrize("force", [False, True])
def test_a_table_that_could_not_be_made_is_refused_before_its_runs(
    tmp_path: Path, overrides: list[str], changes: dict[str, Any], message: str, force: bool
) -> None:
    grid = {"runs": {"task": ["reconstruct"], "steps": [25]}, "average": "seed"}
    arms = [{"label": "ODE", "set": {"sampler": "ode"}}, {"label": "SDE", "set": SEEDS}]
    config = CONFIG | grid | {"arms": arms} | changes
    given = ["task=reconstruct", "metrics=[psnr]", "steps=25", *overrides]
    arms = ["sampler=ode"], ["sampler=sde", "seed=0"], ["sampler=sde", "seed=1"]
    runs = [experiment([*given, *arm]) for arm in arms]
    with pytest.raises(UserError, match=message):
        rehearse_tables(runs, {"t": config}, tmp_path, force=force)


def test_a_table_with_candidates_can_be_made_again_of_more(
    tmp_path: Path, overrides: list[str]
) -> None:
    runs = {"task": ["reconstruct"], "steps": [25]}
    arm = {"label": "SDE", "set": SEEDS, "keep": "psnr"}
    config = CONFIG | {"runs": runs, "arms": [arm], "average": "seed"}
    given = ["task=reconstruct", "metrics=[psnr]", "steps=25", "sampler=sde", *overrides]
    both = [experiment([*given, f"seed={seed}"]) for seed in (0, 1)]
    made = [finished_run(RunStore(tmp_path / "a"), e.spec, {}, n=2) for e in both]
    for run in made:
        add_score(run, "psnr", 20.0, per_example={"000": 19.0, "001": 21.0})
    publish_runs("t", config, made, tmp_path)
    rehearse_tables(both, {"t": config}, tmp_path)


def test_a_sweep_is_refused_before_its_runs_are_made(tmp_path: Path, overrides: list[str]) -> None:
    row = Row("autoencoder, float32", "arm", (Cell(1.0, n=4, runs=("a",)),))
    column = Column("", "1.0")
    table = Table("exactness", "", "", (column,), (Block("psnr", (row,)),))
    write_together(rendered(table, tmp_path / "tables"))
    sweep = ["sweep", "table=exactness", "task.guidance=1.0", *overrides, "--dry-run"]
    refused = CliRunner().invoke(main, sweep)
    assert refused.exit_code == 1
    assert "1 cells that would rest on fewer" in refused.output
    assert CliRunner().invoke(main, [*sweep, "--force"]).exit_code == 0


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
