"""What `sde-edit run` says at its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.commands import run as command
from sde_edit.errors import UserError
from sde_edit.store.runs import RunStore


def invoke(*arguments: str, code: int = 0) -> str:
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == code, outcome.output
    return outcome.stdout if code == 0 else outcome.output


def rows(text: str, metric: str) -> dict[str, list[str]]:
    """Run -> the cells behind it, of one metric."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {metric}")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {run: rest for _, run, *rest in cells}


def test_several_runs_end_with_scores_differences_costs_and_places(
    small: list[str], tmp_path: Path
) -> None:
    text = invoke("run", *small, "sampler=ode,sde", "data.limit=3")
    runs = {run.spec.sampler.name: run for run in RunStore(tmp_path).runs()}
    psnr = rows(text, "psnr ↑")
    assert [psnr[name][1] for name in ("ode", "sde")] == ["3 of 256"] * 2
    difference = runs["sde"].scores()["psnr"].value - runs["ode"].scores()["psnr"].value
    shown = float(psnr["sde"][2].split()[0].replace("−", "-"))
    assert shown == pytest.approx(difference, abs=0.06 * abs(difference) + 0.06)
    assert psnr["sde"][3] in ("better", "worse", "undecided")
    assert rows(text, "evaluations/image")["ode"][:2] == ["4", "3 of 256"]
    assert text.count(f": {runs['ode'].path}\n") == 1
    assert f"contact sheet: {runs['ode'].path / 'contact.png'}" in text


def test_images_alone_end_with_costs(small: list[str]) -> None:
    text = invoke("run", *small, "data.limit=2", "--no-evaluate")
    assert "psnr" not in text
    assert "evaluations/image" in text


def test_an_unfinished_shard_ends_with_its_folder(small: list[str], tmp_path: Path) -> None:
    text = invoke("run", *small, "shards=3", "shard=0")
    (run,) = RunStore(tmp_path).runs()
    assert f"run {run.id}: {run.path}" in text
    assert "psnr" not in text


def test_what_was_made_is_shown_before_what_failed(
    small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = command.run_together

    def fail_for_sde(experiments, *rest):  # type: ignore[no-untyped-def]
        if experiments[0].spec.sampler.name == "sde":
            raise UserError("a disk is full")
        return together(experiments, *rest)

    monkeypatch.setattr(command, "run_together", fail_for_sde)
    text = invoke("run", *small, "sampler=ode,sde", "data.limit=2", code=1)
    assert list(rows(text, "psnr")) == ["ode"]
    assert text.index("| psnr") < text.index("1 of 2 runs failed")
    assert "a disk is full" in text
    alone = CliRunner().invoke(main, ["run", *small, "sampler=sde"])
    assert (alone.exit_code, alone.stdout) == (1, "")


def test_a_run_that_fails_does_not_stop_those_that_share_its_way_up(
    small: list[str], tmp_path: Path
) -> None:
    """The tiny network attends at 4 x 4 positions, so one of the two would replace no map."""
    arms = ["task=p2p", "sampler=ode", "data=shapes-edits", "task.self_max_side=3,4"]
    text = invoke("run", *small, *arms, "data.limit=2", code=1)
    assert "1 of 2 runs failed" in text
    assert "task.self_max_side=3: " in text
    (run,) = RunStore(tmp_path).runs()
    assert run.spec.task.params["self_max_side"] == 4
    assert run.seal
    assert f"contact sheet: {run.path / 'contact.png'}" in text
