"""The rules of claims, on cells that make each verdict."""

from dataclasses import replace

import pytest

from sde_edit.errors import UserError
from sde_edit.report.cells import settings_notes
from sde_edit.report.claim_forms import Judged, claims_latex, claims_markdown, effect, summary
from sde_edit.report.claims import Claim, World, decisive, judge, score, world_of
from sde_edit.report.results import load_finished
from sde_edit.report.table import Block, Cell, Column, Row, Table
from sde_edit.store.runs import RunStore
from tests.builders import finished_run, make_spec

EVERY = Claim(
    name="c", topic="T", sentence="A beats B", where="Table 1", table="t", rule="every",
    arms=("A",), than="B", metrics=("fid",),
)  # fmt: skip
EQUAL = replace(EVERY, rule="equal", margin=1.0)
MOST = replace(EVERY, rule="most")


def table(*differences, higher=False, family=None, n=8, stored=True):
    """A table with arms A and B and, if `stored`, their paired differences A - B.

    differences: (value, low, high) of each column. family: the verdicts under control.
    """
    columns = [str(i) for i in range(len(differences))]
    arm_b = [Cell(10.0, 9.0, 11.0, n, n, (f"b{c}",)) for c in columns]
    arm_a = [
        Cell(10.0 + value, 9.0 + value, 11.0 + value, n, n, (f"a{c}",))
        for c, (value, *_) in zip(columns, differences, strict=True)
    ]
    signs = family or ["undecided"] * len(columns)
    paired = [
        Cell(*one, n, n, (f"a{c}", f"b{c}"), sign, pointwise=own(*one, higher=higher), p=0.01)
        for c, one, sign in zip(columns, differences, signs, strict=True)
    ]
    rows = [Row("A", "arm", tuple(arm_a)), Row("B", "arm", tuple(arm_b))]
    rows += [Row("A − B", "difference", tuple(paired))] if stored else []
    return Table(
        "t", "", "steps", tuple(Column("", c) for c in columns),
        (Block("fid", tuple(rows), higher),), ("Model: m.", "Data: d."),
    )  # fmt: skip


def own(_, low, high, *, higher):
    """The verdict of an interval alone."""
    return "undecided" if low <= 0 <= high else "better" if (low > 0) == higher else "worse"


def with_differences(table, **changes):
    """The table with other differences."""
    (block,) = table.blocks
    *arms, paired = block.rows
    cells = tuple(replace(cell, **changes) for cell in paired.cells)
    rows = (*arms, replace(paired, cells=cells))
    return replace(table, blocks=(replace(block, rows=rows),))


def verdict(claim, table):
    return judge(claim, table, "make it").verdict


BETTER, WORSE, OPEN = (-2.0, -3.0, -1.0), (2.0, 1.0, 3.0), (-0.5, -2.0, 1.0)


# ------------------------------------------------------------------ every
@pytest.mark.parametrize(
    ("differences", "family", "expected"),
    [
        ([BETTER, BETTER], ["undecided", "undecided"], "reproduced"),  # each at its own interval
        ([BETTER, OPEN], ["better", "undecided"], "undecided"),
        ([BETTER, WORSE], ["better", "worse"], "not reproduced"),
        ([BETTER, WORSE], ["better", "undecided"], "undecided"),  # worse by its own interval only
    ],
)
def test_every(differences, family, expected):
    assert verdict(EVERY, table(*differences, family=family)) == expected


@pytest.mark.parametrize("higher", [False, True])
def test_the_other_sign_is_the_other_verdict(higher):
    flipped = [(-value, -high, -low) for value, low, high in (BETTER, BETTER)]
    as_claimed, against = [BETTER, BETTER], flipped
    if higher:
        as_claimed, against = against, as_claimed
    assert verdict(EVERY, table(*as_claimed, higher=higher, family=["better"] * 2)) == "reproduced"
    assert verdict(EVERY, table(*against, higher=higher, family=["worse"] * 2)) == "not reproduced"


def test_the_reverse_claim_reads_the_same_difference():
    reverse = replace(EVERY, arms=("B",), than="A")
    found = judge(reverse, table(BETTER, family=["better"]), "")
    (one,) = found.comparisons
    assert found.verdict == "not reproduced"
    assert (one.value, one.low, one.high, one.paired) == (2.0, 1.0, 3.0, True)
    assert one.controlled == "worse"


def test_a_part_needs_its_own_p_value_too():
    """The percentile interval of five images excludes 0 where no paired test can be sure."""
    few = table(BETTER, BETTER, family=["undecided"] * 2, n=5)
    assert verdict(EVERY, few) == "reproduced"
    assert verdict(EVERY, with_differences(few, p=2.0**-4)) == "undecided"
    assert verdict(EVERY, with_differences(few, pointwise="undecided", p=None)) == "undecided"


def test_tables_from_before_there_were_families_refute_only_together():
    """Their verdicts are of single intervals, so Bonferroni's rule stands for the family."""

    def old(*differences):
        found = table(*differences, family=["worse"] * len(differences))
        return with_differences(found, pointwise="", p=None)

    barely = (2.1, 0.1, 4.1)
    assert verdict(EVERY, old(barely)) == "not reproduced"
    assert verdict(EVERY, old(barely, OPEN)) == "undecided"
    assert verdict(EVERY, old(WORSE, OPEN)) == "not reproduced"


def test_a_difference_is_told_from_another_of_the_same_runs():
    """The mean and the best of the same candidates rest on the same runs."""
    both = table(BETTER, WORSE, family=["better", "worse"])
    (block,) = both.blocks
    same = tuple(
        replace(row, cells=tuple(replace(c, runs=("a",) if row.label == "A" else ("b",))
                                 if row.kind == "arm" else replace(c, runs=("a", "b"))
                                 for c in row.cells))
        for row in block.rows
    )  # fmt: skip
    found = judge(EVERY, replace(both, blocks=(replace(block, rows=same),)), "").comparisons
    assert [one.value for one in found] == [-2.0, 2.0]


# ------------------------------------------------------------------ what is not paired
def test_without_a_stored_difference_the_intervals_of_the_cells_add_up():
    (one,) = judge(EVERY, table((-3.0, 0, 0), stored=False), "").comparisons
    assert (one.value, one.low, one.high, one.paired) == (-3.0, -5.0, -1.0, False)


def test_the_interval_of_two_cells_contains_the_paired_one_of_any_correlation():
    """Half widths: sqrt(a² + b² - 2 r a b) of a difference is at most a + b."""
    a, b = 1.0, 1.0
    (one,) = judge(EVERY, table((-3.0, 0, 0), stored=False), "").comparisons
    assert one.high is not None
    assert one.low is not None
    for r in (-1.0, -0.5, 0.0, 0.5, 1.0):
        assert (one.high - one.low) / 2 >= (a * a + b * b - 2 * r * a * b) ** 0.5


def test_unpaired_comparisons_refute_only_together():
    """2.1 ± 2 is worse alone; one of two must exceed 2 times 2.24 / 1.96."""
    assert verdict(EVERY, table((2.1, 0, 0), stored=False)) == "not reproduced"
    pair = [(2.1, 0, 0), (0.0, 0, 0)]
    assert verdict(EVERY, table(*pair, stored=False)) == "undecided"
    pair = [(2.3, 0, 0), (0.0, 0, 0)]
    assert verdict(EVERY, table(*pair, stored=False)) == "not reproduced"


def test_without_than_each_column_is_compared_with_the_one_before():
    falling = table((0.0, 0, 0), (-3.0, 0, 0), (-6.0, 0, 0))
    columns = replace(EVERY, than=None)
    assert verdict(columns, falling) == "reproduced"
    backwards = replace(columns, columns=("2", "1", "0"))
    assert verdict(backwards, falling) == "not reproduced"
    found = judge(columns, falling, "").comparisons
    assert [(one.a, one.b) for one in found] == [("A | 1", "A | 0"), ("A | 2", "A | 1")]


def test_equality_of_columns_is_that_of_each_two():
    """Steps of 0.9 lie within a margin of 1 each; two of them do not."""
    drifting = table((0.0, 0, 0), (0.9, 0, 0), (1.8, 0, 0))
    (block,) = drifting.blocks
    (arm,) = (row for row in block.rows if row.label == "A")
    exact = replace(arm, cells=tuple(replace(c, low=None, high=None) for c in arm.cells))
    known = replace(drifting, blocks=(replace(block, rows=(exact,)),))
    columns = replace(EQUAL, than=None)
    assert verdict(columns, known) == "not reproduced"
    assert verdict(replace(columns, columns=("0", "1")), known) == "reproduced"
    found = judge(columns, known, "").comparisons
    assert [(one.a, one.b) for one in found] == [
        ("A | 1", "A | 0"), ("A | 2", "A | 0"), ("A | 2", "A | 1"),
    ]  # fmt: skip


def test_columns_are_compared_within_their_group():
    grouped = replace(
        table((0.0, 0, 0), (-3.0, 0, 0), (0.0, 0, 0), (-3.0, 0, 0)),
        columns=(Column("s", "1"), Column("s", "2"), Column("l", "1"), Column("l", "2")),
    )
    found = judge(replace(EVERY, than=None), grouped, "").comparisons
    assert [(one.a, one.b) for one in found] == [("A | s, 2", "A | s, 1"), ("A | l, 2", "A | l, 1")]
    only = judge(replace(EVERY, columns=("s",)), grouped, "").comparisons
    assert [one.a for one in only] == ["A | s, 1", "A | s, 2"]


# ------------------------------------------------------------------ most, equal, exact
@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (["better", "better", "worse"], "reproduced"),
        (["better", "undecided", "undecided"], "undecided"),
        (["worse", "worse", "better"], "not reproduced"),
        (["better", "undecided", "worse"], "undecided"),
    ],
)
def test_most_counts_what_is_decided_under_control(family, expected):
    values = {"better": BETTER, "worse": WORSE, "undecided": BETTER}  # better by its own interval
    assert verdict(MOST, table(*(values[one] for one in family), family=family)) == expected


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        ((0.1, -0.9, 0.9), "reproduced"),
        ((0.1, -1.1, 0.9), "undecided"),
        ((-3.0, -4.0, -2.0), "not reproduced"),
        ((2.0, 1.05, 2.95), "not reproduced"),
    ],
)
def test_equal_within_a_margin(difference, expected):
    assert verdict(EQUAL, table(difference)) == expected


def test_equal_is_refuted_under_control_over_all_comparisons():
    outside = (2.0, 1.05, 2.95)  # one of two: stretched by 2.24 / 1.96 it reaches the margin
    assert verdict(EQUAL, table(outside, (0.0, -0.1, 0.1))) == "undecided"


def test_a_relative_margin_is_a_share_of_the_other_value():
    near = table((0.1, -0.9, 0.9))  # B is 10
    assert verdict(replace(EQUAL, margin=0.1, relative=True), near) == "reproduced"
    assert verdict(replace(EQUAL, margin=0.08, relative=True), near) == "undecided"


def counted(*texts):
    cells = tuple(Cell(int(text.split()[0]), text=text) for text in texts)
    columns = tuple(Column("", str(i)) for i in range(len(texts)))
    return Table("t", "", "", columns, (Block("same", (Row("A", "arm", cells),), True),))


def test_exact():
    claim = replace(EVERY, rule="exact", than=None, metrics=("same",))
    assert verdict(claim, counted("8 of 8", "8 of 8")) == "reproduced"
    found = judge(claim, counted("8 of 8", "7 of 8"), "")
    assert found.verdict == "not reproduced"
    assert score(claim, found) == "1 of 2 exact"
    assert effect(claim, found) == "7 of 8 (A, 1)"
    with pytest.raises(UserError, match="counts no equal images"):
        verdict(replace(claim, metrics=("fid",)), table(BETTER))


# ------------------------------------------------------------------ numbers without an interval
def bare(a, b, n=None):
    rows = (Row("A", "arm", (Cell(a, n=n),)), Row("B", "arm", (Cell(b, n=n),)))
    return Table("t", "", "", (Column("", "0"),), (Block("fid", rows, False),))


def test_a_number_without_an_interval_is_known_without_error():
    assert verdict(EVERY, bare(9.0, 10.0, n=16)) == "reproduced"
    assert verdict(EVERY, bare(10.0, 9.0)) == "not reproduced"
    assert verdict(EVERY, bare(10.0, 10.0)) == "undecided"
    assert verdict(EQUAL, bare(9.5, 10.0)) == "reproduced"
    assert verdict(EQUAL, bare(8.5, 10.0)) == "not reproduced"


def test_one_image_decides_nothing():
    assert verdict(EVERY, bare(9.0, 10.0, n=1)) == "undecided"
    assert verdict(EQUAL, bare(10.0, 10.0, n=1)) == "undecided"


def test_a_difference_within_rounding_is_none():
    rounding = table((-1e-9, -2e-9, -1e-10), family=["undecided"])
    assert verdict(EVERY, rounding) == "undecided"


# ------------------------------------------------------------------ what is missing or unknown
def test_a_missing_cell_is_not_tested_and_the_command_is_named():
    complete = table(BETTER, WORSE, family=["better", "worse"])
    block = complete.blocks[0]
    a, *others = block.rows
    lacking = replace(a, cells=(a.cells[0], Cell()))
    found = judge(EVERY, replace(complete, blocks=(replace(block, rows=(lacking, *others)),)), "do")
    assert (found.verdict, found.remedy) == ("not tested here", "do")
    assert effect(EVERY, found) == score(EVERY, found) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ("lpips",)}, r"table t has no metric 'lpips'. Known: fid\."),
        ({"arms": ("C",)}, r"table t has no arm 'C'.* Known: A, B\."),
        ({"than": "BB"}, r"no arm 'BB'. Did you mean 'B'\? Known: A, B\."),
        ({"columns": ("25",)}, r"table t has no column '25'. Known: 0\."),
        ({"than": None}, "columns are compared with each other, and there is one"),
        ({"margin": 1.0}, "rule equal needs a margin, and no other rule has one"),
        ({"rule": "equal"}, "rule equal needs a margin"),
        ({"relative": True}, "relative is for a margin"),
        ({"rule": "exact"}, "leave out than"),
        ({"than": "A"}, "'A' cannot be compared with itself"),
    ],
)
def test_what_cannot_be_decided_is_refused_by_name(change, message):
    with pytest.raises(UserError, match=message) as caught:
        judge(replace(EVERY, **change), table(BETTER), "")
    assert "claim 'c'" in str(caught.value)


def test_a_metric_without_a_direction_cannot_be_better():
    blind = table(BETTER, higher=None)
    with pytest.raises(UserError, match="fid has no better direction"):
        verdict(EVERY, blind)
    assert verdict(replace(EQUAL, margin=4.0), blind) == "reproduced"


def test_the_first_metric_that_the_table_has_counts():
    either = replace(EVERY, metrics=(("lpips", "fid"), ("fid", "psnr")))
    assert len(judge(either, table(BETTER), "").comparisons) == 1


def test_the_least_favourable_comparison_is_shown():
    found = judge(EVERY, table(BETTER, OPEN, BETTER), "")
    assert decisive(EVERY, found).a == "A | 1"
    assert effect(EVERY, found) == "FID: −0.500 [−2.000, 1.000] (A − B, 1)"
    far = judge(EQUAL, table((0.0, -0.2, 0.3), (-0.1, -0.9, 0.1)), "")
    assert decisive(EQUAL, far).a == "A | 1"


# ------------------------------------------------------------------ worlds and forms
def test_the_world_is_read_from_the_notes_that_tables_have(tmp_path):
    store = RunStore(tmp_path)
    runs = [
        finished_run(
            store,
            make_spec("ode", 10, data=data, data_params={"caption": 'a; b "c"'}),
            {"fid": 1.0},
        )
        for data in ("places", "coco")
    ]
    notes = tuple(settings_notes([load_finished(run) for run in runs]))
    found = world_of(replace(table(BETTER), notes=notes))
    assert found.data == ("places", "coco")
    assert found.model == (make_spec("ode", 10).model.name,)
    assert world_of(table(BETTER)) == World(("m",), ("d",))


def judged(claim, found):
    return Judged(claim, None, (judge(claim, found, "do"),))


def test_the_summary_has_the_headlines_only_and_counts_all():
    headline = replace(EVERY, headline=True, sentence="First")
    both = [judged(headline, table(BETTER)), judged(EVERY, table(OPEN))]
    text = summary(both, "there/")
    assert "First" in text
    assert "A beats B" not in text
    assert "[t](there/t.md)" in text
    assert "All 2 claims: 1 reproduced, 1 undecided." in text


def test_every_claim_stands_in_markdown_and_latex():
    odd = replace(EVERY, sentence="50 % of A_B", note="Mind this.")
    text = claims_markdown([judged(odd, table(WORSE, family=["worse"]))])
    assert "**50 % of A_B** — Table 1 (`c`)" in text
    assert "Mind this." in text
    assert "| m on d" in text
    assert "not reproduced" in text
    assert r"50 \% of A\_B & Table 1 & m on d & not reproduced" in claims_latex(
        [judged(odd, table(WORSE, family=["worse"]))]
    )


def test_a_model_of_two_weights_is_named_with_their_digests():
    def found(digest):
        note = f"Model: m (version 1, digest {digest}) with resolution 64."
        made = replace(table((-1.0, -2.0, -0.5)), notes=(note, "Data: d."))
        return Judged(replace(EVERY, headline=True), None, (judge(EVERY, made, "do"),))

    old, new = found("aaaaaa111111"), found("bbbbbb222222")
    assert "| m |" in " ".join(summary([new, new], "").split())
    text = summary([old, new], "")
    assert "m `aaaaaa`" in text
    assert "m `bbbbbb`" in text


def test_an_arm_that_was_left_out_is_the_one_that_stands_for_it() -> None:
    """With `model=sd15` the default guidance is 7.5, and Table 2 has no rows "at 7.5"."""
    whole = table((-2.0, -3.0, -1.0))
    (block,) = whole.blocks
    a, b, paired = block.rows
    rows = (replace(a, stands_for=("A at 7.5",)), replace(b, stands_for=("B at 7.5",)), paired)
    whole = replace(whole, blocks=(replace(block, rows=rows),))
    asked = replace(EVERY, arms=("A at 7.5",), than="B at 7.5")
    assert judge(asked, whole, "").verdict == judge(EVERY, whole, "").verdict == "reproduced"
    with pytest.raises(UserError, match="has no arm 'A at 8'"):
        judge(replace(asked, arms=("A at 8",)), whole, "")
