"""What `status` says of attempts."""

import os
import platform

from sde_edit.commands.status import describe_status
from tests.builders import begin_attempt


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
    assert "run" in status(tmp_path)
