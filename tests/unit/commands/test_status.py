"""What `status` says of attempts."""

import json
import os
import platform

import pytest
from click.testing import CliRunner

from sde_edit.cli import main
from sde_edit.commands.status import describe_status
from sde_edit.errors import UserError
from sde_edit.store.runs import RunStore
from tests.builders import add_images, begin_attempt, finished_run, make_spec


def status(tmp_path):
    return describe_status([f"paths.results={tmp_path}"])


def test_a_run_at_work(small, tmp_path):
    run = begin_attempt(small)
    text = status(tmp_path)
    assert run.id in text
    assert "| 0 of 1 | running | 0 of 6 |" in " ".join(text.split())
    assert platform.node() in text


def test_a_process_that_has_gone_died_and_its_log_is_shown(small, tmp_path):
    log = tmp_path / "worker.log"
    log.write_bytes(b"first\n" + b"x\n" * 50 + b"10%\r20%\rlast words\n")
    begin_attempt(small, pid=2**22 - 1, log=str(log))
    text = status(tmp_path)
    assert "died" in text
    assert "    last words" in text
    assert "first" not in text
    assert "10%" not in text
    assert "go on with: sde-edit run steps=4" in text


def test_an_error_is_shown(small, tmp_path):
    begin_attempt(small, ended=1.0, error="mask.png: 32x32")
    assert "failed: mask.png: 32x32" in status(tmp_path)


def test_a_task_that_slurm_does_not_know_any_more_died(small, tmp_path):
    begin_attempt(small, slurm_job="17_3")
    assert "died" in status(tmp_path)


def test_another_machine_is_named_not_asked(small, tmp_path):
    begin_attempt(small, host="elsewhere", pid=os.getpid())
    assert "on elsewhere" in status(tmp_path)


def test_status_of_an_empty_folder(tmp_path):
    assert status(tmp_path) == f"no runs in {tmp_path}"


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    where = f"paths.results={tmp_path / 'nowhere'}"
    outcome = CliRunner().invoke(main, ["status", where])
    assert outcome.exit_code == 1
    assert "nowhere: no such folder" in outcome.output


def test_an_override_without_effect_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"steps=3: .*paths\.results=DIR alone"):
        describe_status(["steps=3", f"paths.results={tmp_path}"])


def test_what_was_finished_as_asked_is_not_partial(tmp_path):
    store = RunStore(tmp_path)
    asked = finished_run(store, make_spec(), {"psnr": 20.0}, n=4, of=256)
    begun = store.open(make_spec("sde"))
    text = status(tmp_path)
    (line,) = [line for line in text.splitlines() if asked.id in line]
    assert "| 4 of 256 | finished | psnr |" in " ".join(line.split())
    (line,) = [line for line in text.splitlines() if begun.id in line]
    assert "| 0 | partial |" in " ".join(line.split())


def test_settings_that_differ_are_shown_and_the_others_once(tmp_path):
    for seed in (0, 1):
        finished_run(RunStore(tmp_path), make_spec(seed=seed), {})
    text = status(tmp_path)
    assert "| seed" in text
    assert "| task" not in text
    assert "In every run: task inpaint, sampler ode" in text


def test_the_shards_of_a_run_that_is_extended_are_shown(small, tmp_path):
    run = begin_attempt(small)
    add_images(run, ["a", "b"])
    record = json.loads(run.row_file("a").read_text().splitlines()[0]) | {"id": "c"}
    run.row_file("b").write_text(json.dumps(record) + "\n")
    assert "| 0 of 1 | running |" in " ".join(status(tmp_path).split())
