"""`wandb=online` without a key, without a network, and when it fails during a run."""

import logging

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from sde_edit.cli import main
from sde_edit.config import experiment
from sde_edit.engine.tracking import Tracker, online_problem
from sde_edit.store.runs import RunStore

SMALL = ["steps=2", "data.limit=2", "metrics=[psnr]", "hardware.threads=1", "wandb=online"]
NOWHERE = "http://127.0.0.1:9"  # the port of `discard`, at which nothing listens


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    """No key of whoever runs the tests, and no server but one that does not answer."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_BASE_URL", NOWHERE)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    _forget()
    yield
    _forget()


def _forget():
    """wandb reads the environment once in a process."""
    import wandb

    wandb.teardown()


def run(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "sde_edit"):
        arguments = ["run", *SMALL, f"paths.results={tmp_path / 'results'}"]
        outcome = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    (done,) = RunStore(tmp_path / "results").runs()
    assert done.seal
    assert set(done.scores()) == {"psnr"}
    return [record.getMessage() for record in caplog.records if "wandb" in record.getMessage()]


def test_without_a_key_it_is_said_and_the_run_is_tracked_into_files(tmp_path, caplog):
    (message,) = run(tmp_path, caplog)
    assert "there is no API key: run `wandb login` or set WANDB_API_KEY" in message
    assert "wandb sync" in message
    assert list((tmp_path / "results" / "wandb").glob("offline-run-*"))


def test_without_a_network_it_is_said_and_the_run_is_tracked_into_files(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    (message,) = run(tmp_path, caplog)
    assert f"{NOWHERE} does not answer" in message
    assert list((tmp_path / "results" / "wandb").glob("offline-run-*"))


@pytest.mark.parametrize("when", ["init", "log", "finish"])
def test_what_fails_later_does_not_end_the_run(tmp_path, monkeypatch, caplog, when):
    class Broken:
        summary: dict[str, float] = {}  # noqa: RUF012 - a stand-in

        def log(self, values: object) -> None:
            if when == "log":
                raise OSError("the disk is full")

        def finish(self, exit_code: int) -> None:
            if when == "finish":
                raise RuntimeError("it has gone")

    def init(**_: object) -> Broken:
        if when == "init":
            raise RuntimeError("no permission for the project")
        return Broken()

    monkeypatch.setattr("sde_edit.engine.tracking.online_problem", lambda settings: None)
    monkeypatch.setattr("wandb.init", init)
    (message,) = run(tmp_path, caplog)
    assert "The run goes on untracked" in message


def test_examples_are_tracked_in_a_table_and_the_run_has_tags(tmp_path, monkeypatch, caplog):
    logged, given = {}, {}

    class Recorder:
        summary: dict[str, float] = {}  # noqa: RUF012 - a stand-in

        def log(self, values: dict[str, object]) -> None:
            logged.update(values)

        def finish(self, exit_code: int) -> None:
            assert exit_code == 0

    monkeypatch.setattr("sde_edit.engine.tracking.online_problem", lambda settings: None)
    monkeypatch.setattr("wandb.init", lambda **settings: given.update(settings) or Recorder())
    assert run(tmp_path, caplog) == []
    assert given["tags"] == ["inpaint", "sde", "shapes", "shapes"]
    table = logged["outputs"]
    assert table.columns == ["example", "prompt", "source", "output", "truth"]
    assert [row[0] for row in table.data] == ["test-000000", "test-000001"]
    (made,) = RunStore(tmp_path / "results").runs()
    for name, _, source, output, truth in table.data:
        expected = np.asarray(Image.open(made.output(made.rows()[name])))
        np.testing.assert_array_equal(np.asarray(output.image), expected)
        np.testing.assert_array_equal(np.asarray(source.image), np.asarray(truth.image))


def test_other_modes_ask_for_nothing(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it asks")

    monkeypatch.setattr("wandb.login", refuse)
    for mode in ("offline", "disabled"):
        assert online_problem({"mode": mode, "project": "x"}) is None
    chosen = experiment([*SMALL[:-1], f"paths.results={tmp_path}"])
    with Tracker(chosen) as tracker:
        tracker.progress(1, 1.0, 1)


def test_check_says_it_too(tmp_path):
    arguments = ["check", *SMALL, f"paths.results={tmp_path / 'results'}"]
    outcome = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    assert "wandb: there is no API key" in outcome.output
