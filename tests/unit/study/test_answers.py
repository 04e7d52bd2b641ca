"""Answers are appended, once each, and survive what can happen to a server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from sde_edit.errors import UserError
from sde_edit.study.answers import AnswerFile, StaleError
from sde_edit.study.trials import trials_of
from tests.unit.study.plans import plan_of

PLAN = plan_of()


@pytest.fixture
def file(tmp_path):
    found = AnswerFile(tmp_path / "a" / "rater-1.jsonl", "rater-1", "plan", trials_of(PLAN, 0))
    found.agree()
    return found


def choices(file):
    return [(one.trial, one.choice) for one in file.progress().answers.values()]


def lines(file):
    return file.path.read_bytes().count(b"\n")


def test_nothing_is_written_before_the_rater_agrees(tmp_path):
    file = AnswerFile(tmp_path / "a.jsonl", "rater-1", "plan", trials_of(PLAN, 0))
    assert file.progress().consent is None
    assert not file.path.exists()
    with pytest.raises(StaleError):
        file.answer(0, "left", 1.0)
    file.agree()
    before = file.path.read_bytes()
    assert file.agree().consent is not None
    assert file.path.read_bytes() == before


def test_an_answer_says_what_was_shown(file):
    file.answer(0, "right", 2.5)
    (answer,) = file.progress().answers.values()
    trial = file.trials[0]
    assert (answer.kind, answer.item) == (trial.kind, trial.item)
    assert answer.left == (trial.left.arm, trial.left.item)
    assert answer.right == (trial.right.arm, trial.right.item)
    assert answer.seconds == 2.5


def test_an_answer_that_is_sent_again_counts_once(file):
    file.answer(0, "left", 1.0)
    before = file.path.read_bytes()
    assert file.answer(0, "left", 9.0).next == 1
    assert file.path.read_bytes() == before


@pytest.mark.parametrize(
    ("trial", "choice"), [(0, "right"), (2, "left"), (-1, "left"), (99, "left")]
)
def test_an_answer_to_another_question_is_refused(file, trial, choice):
    file.answer(0, "left", 1.0)
    with pytest.raises(StaleError):
        file.answer(trial, choice, 1.0)
    assert choices(file) == [(0, "left")]


def test_one_answer_can_be_taken_back_and_given_anew(file):
    for trial in range(3):
        file.answer(trial, "left", 1.0)
    assert file.undo(2).next == 2
    before = lines(file)
    assert file.undo(2).next == 2  # sent again
    assert lines(file) == before
    with pytest.raises(StaleError):
        file.undo(1)
    assert not file.progress().may_undo
    assert file.answer(2, "right", 1.0).may_undo
    assert choices(file) == [(0, "left"), (1, "left"), (2, "right")]


@pytest.mark.parametrize("kept", [0, 1, 20])
def test_a_line_that_a_kill_cut_short_is_passed_over(file, kept):
    file.answer(0, "left", 1.0)
    file.answer(1, "left", 1.0)
    *whole, last, _ = file.path.read_bytes().split(b"\n")
    file.path.write_bytes(b"\n".join([*whole, last[:kept]]))
    assert file.progress().next == 1
    file.answer(1, "right", 1.0)
    file.answer(2, "left", 1.0)
    assert choices(file) == [(0, "left"), (1, "right"), (2, "left")]


def test_a_last_line_without_its_end_counts(file):
    file.answer(0, "left", 1.0)
    file.path.write_bytes(file.path.read_bytes().rstrip(b"\n"))
    assert file.answer(0, "left", 1.0).next == 1
    file.answer(1, "left", 1.0)
    assert choices(file) == [(0, "left"), (1, "left")]


def test_a_damaged_line_is_asked_again(file):
    for trial in range(3):
        file.answer(trial, "left", 1.0)
    file.path.write_bytes(file.path.read_bytes().replace(b'"trial":1', b'"trial":"'))
    assert file.progress().next == 1


def test_many_at_once_write_every_answer_once(file):
    def everything(_):
        for trial in range(len(file.trials)):
            file.answer(trial, "left", 1.0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(everything, range(8)))
    assert lines(file) == 1 + len(file.trials)
    assert [json.loads(line)["trial"] for line in file.path.read_text().splitlines()[1:]] == list(
        range(len(file.trials))
    )


def test_answers_to_another_plan_are_refused(file):
    other = AnswerFile(file.path, "rater-1", "another plan", file.trials)
    with pytest.raises(UserError, match=r"rater-1\.jsonl holds answers to another plan"):
        other.progress()
