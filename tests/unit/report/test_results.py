"""What is read of a run: its scores, and what is wrong with them."""

from __future__ import annotations

import json

import pytest

from sde_edit.commands.table import build_table
from sde_edit.errors import UserError
from sde_edit.report.formats import to_json
from sde_edit.report.results import load_finished
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import RunStore
from tests.builders import add_score, stored_score
from tests.unit.report.inpainting import Fill, N, add_numbered, config, inpaint_spec


def test_missing_score_names_the_metric_and_the_command(store: RunStore, fill: Fill) -> None:
    run = fill()[("ode", "small", 25)]
    run.score_file("psnr", 1, {}).unlink()
    notes = build_table(config(), store.runs()).notes
    assert any(f"run {run.id} lacks psnr" in n and "sde-edit evaluate" in n for n in notes)


def test_runs_without_scores_name_the_command(store: RunStore) -> None:
    add_numbered(store.open(inpaint_spec("ode")), N)
    with pytest.raises(UserError, match=r"no scores.*sde-edit evaluate task=inpaint sampler=ode"):
        build_table(config(), store.runs())


@pytest.mark.parametrize("changes", [{"value": float("nan")}, {"high": float("inf")}])
def test_a_number_that_is_not_finite_is_an_error(
    store: RunStore, fill: Fill, changes: dict[str, float]
) -> None:
    run = fill()[("sde", "small", 50)]
    broken = json.dumps(stored_score(run, "psnr", 20.0) | changes)
    write_atomic(run.score_file("psnr", 1, {}), broken.encode())
    with pytest.raises(UserError, match=f"{run.id}: psnr is not finite"):
        build_table(config(), store.runs())


def test_a_run_with_lost_images_is_named_and_left_out(
    store: RunStore, fill: Fill, caplog: pytest.LogCaptureFixture
) -> None:
    run = fill()["sde", "small", 50]
    (run.path / "outputs" / "003.png").unlink()
    with pytest.raises(UserError, match=f"{run.id} was sealed with 8 images, 7 of them"):
        load_finished(run)
    table = build_table(config(), store.runs())
    assert f"{run.id} was sealed with 8 images, 7 of them" in caplog.text
    assert any("begun, not finished" in note for note in table.notes)
    assert run.id not in to_json(table)


def test_while_a_run_is_extended_a_score_of_all_its_images_tells_which_are_sealed(
    store: RunStore, fill: Fill
) -> None:
    run = fill()["sde", "small", 50]
    sealed = sorted(run.rows())
    add_score(run, "background_psnr", 20.0, per_example=dict.fromkeys(sealed[1:], 20.0))
    add_score(run, "psnr", 20.0, per_example=dict.fromkeys(sealed, 20.0))
    row = run.row_file("a").read_text().splitlines()[0]
    run.row_file("b").write_text(json.dumps(json.loads(row) | {"id": "more"}) + "\n")
    assert load_finished(run).examples == {*sealed}


def test_conventions_must_agree(store: RunStore, fill: Fill) -> None:
    run = fill()[("sde", "small", 50)]
    add_score(run, "psnr", 20.0, convention="another window")
    with pytest.raises(UserError, match=r"psnr was measured by different conventions"):
        build_table(config(), store.runs())
