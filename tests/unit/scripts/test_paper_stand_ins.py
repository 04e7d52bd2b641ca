"""Plans of the paper's setting on stand-ins for its models and data."""

import runpy
import sys

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.commands.sweep import plan_sweep
from sde_edit.commands.sweep_plan import describe_sweep
from tests.builders import ROOT

IMAGES, DRAGS = 2, 1


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """The folder of the stand-ins."""
    out = tmp_path_factory.mktemp("stand-ins")
    given = ["--images", str(IMAGES), "--drags", str(DRAGS), "--pixels", "64"]
    script = runpy.run_path(str(ROOT / "scripts" / "paper_stand_ins.py"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["paper_stand_ins.py", str(out), *given])
        script["main"]()
    return out


def planned(folder, monkeypatch, *overrides):
    monkeypatch.chdir(folder)
    return plan_sweep([*overrides, "setting=paper", "metrics=[]"], tflops=500)


def test_the_paper_is_planned_without_its_weights_and_data(stand_ins, monkeypatch):
    """Counted here by hand, in rows of Stable Diffusion 1.5 and of ADM."""
    inpaint = 2 * 2 * (25 + 50 + 100) * 2  # samplers, masks, steps, guidance
    ddib = 2 * 2 * 999 + 2 * 999  # samplers up and down, and sampling
    drag = 2 * 4 * 2 * 120 * 2  # samplers, drag steps of two cells, up and down, guidance
    sweep = planned(stand_ins, monkeypatch, "table=table2,table6,figure7")
    rows = {"sd15": IMAGES * inpaint + DRAGS * drag, "adm": IMAGES * ddib}
    counted = dict.fromkeys(rows, 0)
    for run, evaluations in zip(sweep.runs, sweep.evaluations, strict=True):
        counted[run.experiment.spec.model.name] += evaluations
    assert counted == rows
    text = describe_sweep(sweep)
    assert "803.3 GFLOP an evaluation of sd15, 2239 GFLOP an evaluation of adm" in text
    operations = rows["sd15"] * 803.273e9 + rows["adm"] * 2238.76e9
    assert f"\n{operations / 1e18:.4g} EFLOP" in text
    hours = operations / 500e12 / 3600
    assert f"about {hours:.2f} hours of one worker, by 500 TFLOP/s, which --tflops says" in text


def test_what_table_8_shares_is_counted_once(stand_ins, monkeypatch):
    sweep = planned(stand_ins, monkeypatch, "table=table8")
    down, up = 2 * (30 + 40 + 50 + 60 + 70 + 80), 2 * 80
    alike = 3 + 2  # SDE, ODE, BDIA; EDICT takes two evaluations per step
    assert sum(sweep.evaluations) == IMAGES * alike * (down + up)
    assert "24 runs share 4 ways up to noise" in describe_sweep(sweep)


def test_a_plan_without_metrics_ends_well_and_says_what_is_not_written(stand_ins, monkeypatch):
    """Table 8 shows costs beside scores and is drawn; Fig. 7 has a sheet that goes by a score."""
    monkeypatch.chdir(stand_ins)
    asked = ["table=table2,table8,figure7", "setting=paper", "metrics=[]"]
    outcome = CliRunner().invoke(main, ["sweep", *asked, "--dry-run", "--tflops", "500"])
    assert outcome.exit_code == 0, outcome.output
    assert "so table2, table8, figure7 will not be written" in outcome.stdout
    assert "EFLOP" in outcome.stdout
