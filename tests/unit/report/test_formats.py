"""Tables as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from sde_edit.commands.table import build_table
from sde_edit.report.formats import from_json, markdown, rendered, to_csv, to_json
from sde_edit.report.latex import latex
from sde_edit.report.table import Block, Cell, Column, Row, Table
from sde_edit.store.runs import RunStore
from tests.builders import add_score
from tests.unit.report.inpainting import Fill, add_numbered, config, inpaint_spec, row_of


def test_partial_run_shows_its_n_and_is_not_paired(store: RunStore, fill: Fill) -> None:
    run = fill(skip=(("ode", "small", 25),)) and store.open(inpaint_spec("ode", "small", 25))
    add_numbered(run, 5)
    add_score(run, "shapes_fid", 9.5)
    table = build_table(config(metrics=["shapes_fid"]), store.runs())
    text = markdown(table)
    assert "(n = 5 of 8)" in text
    assert "(n = 8)" in text
    assert "(n = 5 of 8)" in latex(table)
    assert row_of(table, "shapes_fid", "SDE − ODE")["small masks, 25"].value is None
    assert any("different examples" in note for note in table.notes)


def test_full_runs_of_one_size_state_n_once(store: RunStore, fill: Fill) -> None:
    fill()
    text = markdown(build_table(config(), store.runs()))
    assert text.count("n = 8") == 1


def test_json_reads_back_equal(table: Table) -> None:
    assert from_json(to_json(table)) == table


def test_csv_holds_every_cell_unrounded(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(table))))
    cells = list(table.cells())
    assert len(lines) == len(cells)
    for line, (block, row, column, cell) in zip(lines, cells, strict=True):
        place = (line["metric"], line["row"], line["group"], line["column"])
        assert place == (block.title, row.label, column.group, column.label)
        assert (float(line["value"]) if line["value"] else None) == cell.value
        assert tuple(line["runs"].split()) == cell.runs
        assert line["verdict"] == cell.verdict


def test_markdown_is_traceable(table: Table) -> None:
    text = markdown(table)
    ids = {i for *_, cell in table.cells() for i in cell.runs}
    assert all(f"`{i}`" in text for i in ids)
    for fact in ("psnr of the embedded encoder", "guidance 7.5", "float32", "leading", "sigma_min",
                 "digest-of-sh", "seed 0", "psnr ↑", "shapes_fid ↓", "**better**"):  # fmt: skip
        assert fact in text
    assert not any(line.count("|") not in (0, 8) for line in text.splitlines())


def test_markdown_escapes_pipes() -> None:
    row = Row("a|b", "arm", (Cell(text="c|d"),))
    text = markdown(Table("t", "", "x", (Column("", "y"),), (Block("", (row,)),)))
    assert "a\\|b" in text
    assert "c\\|d" in text


def test_the_files_of_a_table_are_the_same_each_time(table: Table, tmp_path: Path) -> None:
    files = rendered(table, tmp_path)
    endings = ("", "-notes")
    names = ["table2.md", *(f"table2{end}.tex" for end in endings), "table2.csv", "table2.json"]
    assert [path.name for path in files] == names
    assert rendered(table, tmp_path) == files


def test_order_of_the_runs_does_not_matter(store: RunStore, fill: Fill) -> None:
    fill()
    forward, backward = store.runs(), store.runs()[::-1]
    tables = [build_table(config(), runs) for runs in (forward, backward)]
    assert to_json(tables[0]) == to_json(tables[1])
