"""What a process notes about itself."""

from tests.builders import begin_attempt


def test_the_log_variable_reaches_the_attempt(small, tmp_path, monkeypatch):
    monkeypatch.setenv("SDE_EDIT_LOG", "/logs/7.err")
    run = begin_attempt(small)
    assert run.attempts()[0].log == "/logs/7.err"
