"""Published numbers beside the measured."""

from __future__ import annotations

from itertools import product

from sde_edit.commands.table import build_table
from sde_edit.report.formats import markdown
from sde_edit.store.runs import RunStore
from tests.builders import add_score
from tests.unit.report.inpainting import VALUES, Fill, N, add_numbered, config, inpaint_spec, row_of


def test_published_numbers_are_set_apart_from_other_experiments(
    store: RunStore, fill: Fill
) -> None:
    fill()
    table = build_table(config(), store.runs())
    titles = [block.title for block in table.blocks]
    assert titles[2:] == [
        "Published FID, another experiment",
        "Published LPIPS, another experiment",
    ]
    row = row_of(table, titles[2], "Paper Inpaint-SDE")
    assert row["large masks, 50"].value == 15.48
    assert row["large masks, 50"].low is None
    assert "17.50" in markdown(table)
    assert all("Paper" not in r.label for b in table.blocks[:2] for r in b.rows)


def test_published_numbers_stand_beside_the_same_experiment(store: RunStore) -> None:
    for place, value in VALUES.items():
        run = store.open(inpaint_spec(*place, model="sd15", data="places"))
        add_numbered(run, N)
        add_score(run, "fid", value)
    table = build_table(config(), store.runs())
    assert [row.label for row in table.blocks[0].rows] == [
        "Inpaint-ODE", "Inpaint-SDE", "SDE − ODE", "Paper Inpaint-ODE", "Paper Inpaint-SDE",
    ]  # fmt: skip
    assert [block.title for block in table.blocks] == ["fid", "Published LPIPS, another experiment"]


def test_table5_says_that_published_values_are_not_available(store: RunStore) -> None:
    for sampler, masks in product(("ode2", "sde2"), ("small", "large")):
        run = store.open(inpaint_spec(sampler, masks, 25))
        add_numbered(run, N)
        add_score(run, "shapes_fid", 3.0)
    table = build_table(config("table5"), store.runs())
    assert any("not available" in note for note in table.notes)
    assert not any(row.kind == "paper" for block in table.blocks for row in block.rows)
    assert table.blocks[0].summary.endswith("; 4 not compared.")


def test_published_numbers_belong_to_columns_of_which_a_table_may_show_some(
    store: RunStore,
) -> None:
    """As `sde-edit sweep table=table3 dtype=float32` does."""
    for sampler in ("ode", "sde"):
        run = store.open(inpaint_spec(sampler, "large", 50))
        add_numbered(run, N)
        add_score(run, "fid", 1.0)
    shown = config() | {"runs": config()["runs"] | {"steps": [50], "data.masks": ["large"]}}
    table = build_table(shown, store.runs())
    row = row_of(table, "Published FID, another experiment", "Paper Inpaint-SDE")
    assert [cell.value for cell in row.values()] == [15.48]
