"""Tables made of synthetic runs: their numbers and their wording."""

from __future__ import annotations

from sde_edit.commands.table import build_table
from sde_edit.report.table import Cell, figure_name, number, with_common_decimals
from sde_edit.store.runs import RunStore
from tests.unit.report.inpainting import VALUES, Fill, N, config, row_of

# ------------------------------------------------------------------ numbers


def test_cells_hold_the_stored_numbers(store: RunStore, fill: Fill) -> None:
    runs = fill()
    table = build_table(config(), store.runs())
    for (sampler, masks, steps), value in VALUES.items():
        row = row_of(table, "shapes_fid", f"Inpaint-{sampler.upper()}")
        cell = row[f"{masks} masks, {steps}"]
        assert (cell.value, cell.low, cell.high) == (value, value - 0.5, value + 0.5)
        assert (cell.n, cell.of, cell.runs) == (N, N, (runs[sampler, masks, steps].id,))


def test_summary_counts_the_verdicts(store: RunStore, fill: Fill) -> None:
    fill()
    table = build_table(config(), store.runs())
    text = "SDE better than ODE in 4 of 6 cells, worse in 1, undecided in 1 over the "
    text += "family (by their own intervals better in 4, worse in 1)."
    assert [b.summary for b in table.blocks[:2]] == [text, text]  # psnr mirrors shapes_fid


def test_metrics_can_be_chosen_and_ordered(store: RunStore, fill: Fill) -> None:
    fill()
    table = build_table(config(metrics=["shapes_fid", "psnr"], paper=None), store.runs())
    assert [b.title for b in table.blocks] == ["shapes_fid", "psnr"]


def test_decimals_follow_the_interval() -> None:
    assert with_common_decimals([Cell(1.0, 0.987, 1.013)])[0].decimals == 3
    assert with_common_decimals([Cell(1.0, 0.6, 1.4)])[0].decimals == 2
    assert with_common_decimals([Cell(100.0, 70.0, 130.0)])[0].decimals == 0
    assert {c.decimals for c in with_common_decimals([Cell(17.73), Cell(17.5)])} == {2}
    assert with_common_decimals([Cell(0.21345678)])[0].decimals == 4
    assert with_common_decimals([Cell(50.0)])[0].decimals == 0
    assert with_common_decimals([Cell()])[0].decimals == 0


def test_numbers_have_a_true_minus_and_no_negative_zero() -> None:
    assert number(-1.25, 1) == "\N{MINUS SIGN}1.2"
    assert number(-0.001, 2) == "0.00"


def test_a_figure_may_have_a_name_of_its_own() -> None:
    assert figure_name({"figure": {"kind": "tradeoff", "name": "figure2"}}, "t") == "figure2"
    assert figure_name({"figure": {"kind": "curves"}}, "t") == "t"
    assert figure_name({}, "t") == "t"
