"""What of a table goes into a paper."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sde_edit.errors import UserError
from sde_edit.report.excerpt import EVERYTHING, Excerpt
from sde_edit.report.table import Block, Cell, Column, Row, Table


def made(metric: str) -> Block:
    def cells(*runs: str) -> tuple[Cell, ...]:
        return tuple(Cell(float(i), i - 1.0, i + 1.0, 9, runs=runs) for i in range(4))

    rows = (
        Row("A", "arm", cells("a")),
        Row("B, new", "arm", cells("b")),
        Row("C", "arm", cells("c")),
        Row("B − A", "difference", cells("b", "a")),
        Row("C − A", "difference", cells("c", "a")),
        Row("Paper A", "paper", tuple(map(Cell, range(4)))),
    )
    return Block(metric, rows, True)


COLUMNS = tuple(Column(f"{masks} masks", steps) for masks in ("small", "large") for steps in "25")
TABLE = Table("t", "T", "steps", COLUMNS, (made("psnr"), made("fid"), made("ssim")))


def test_everything_is_the_table() -> None:
    assert EVERYTHING.of(TABLE) == TABLE


def test_metrics_are_in_the_order_asked_for() -> None:
    found = Excerpt(metrics=("ssim", "psnr")).of(TABLE)
    assert [block.title for block in found.blocks] == ["ssim", "psnr"]


@pytest.mark.parametrize(
    ("asked", "values"),
    [
        (("5",), [1, 3]),
        (("large masks",), [2, 3]),
        (("large masks, 5", "2"), [0, 2, 3]),
        (("5", "small masks"), [0, 1, 3]),
    ],
)
def test_columns_go_by_label_group_or_both(asked: tuple[str, ...], values: list[int]) -> None:
    found = Excerpt(columns=asked).of(TABLE)
    assert [cell.value for cell in found.blocks[0].rows[0].cells] == values
    assert len(found.columns) == len(values)


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        (("C", "A"), ["C", "A", "C − A", "Paper A"]),
        (("B, new", "C"), ["B, new", "C"]),
        (("A",), ["A", "Paper A"]),
    ],
)
def test_a_difference_is_shown_if_both_its_arms_are(
    asked: tuple[str, ...], rows: list[str]
) -> None:
    for block in Excerpt(arms=asked).of(TABLE).blocks:
        assert [row.label for row in block.rows] == rows


def test_a_block_without_any_of_the_arms_is_left_out() -> None:
    lone = Block("seconds", (Row("D", "arm", (Cell(1.0),) * 4),))
    found = Excerpt(arms=("D",)).of(replace(TABLE, blocks=(*TABLE.blocks, lone)))
    assert [block.title for block in found.blocks] == ["seconds"]


def test_intervals_can_be_left_out() -> None:
    found = Excerpt(intervals=False).of(TABLE)
    assert {(cell.low, cell.high) for *_, cell in found.cells()} == {(None, None)}
    assert [cell.value for *_, cell in found.cells()] == [cell.value for *_, cell in TABLE.cells()]


@pytest.mark.parametrize(
    ("excerpt", "error"),
    [
        (Excerpt(metrics=("pnsr",)), r"t: no metric 'pnsr'\. Did you mean 'psnr'"),
        (Excerpt(columns=("50",)), r"t: no column '50'\..* Known: 2, small masks, "),
        (Excerpt(arms=("B − A",)), r"t: no arm 'B − A'\..* Known: A, B, new, C\."),
    ],
)
def test_a_name_that_the_table_lacks_is_refused(excerpt: Excerpt, error: str) -> None:
    with pytest.raises(UserError, match=error):
        excerpt.of(TABLE)
