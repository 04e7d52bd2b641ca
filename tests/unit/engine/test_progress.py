"""The bar of a run, by a model that only counts."""

import io
from types import SimpleNamespace

import pytest

from sde_edit.engine.progress import Progress


@pytest.fixture
def model():
    return SimpleNamespace(evaluations=70)  # of an earlier run


@pytest.fixture
def bar(model, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    return Progress("drag", model, 4, 400)


def shown(bar):
    bar._tell()
    return bar._bar.n, bar._bar.postfix


def test_a_batch_at_work_counts_by_its_evaluations(bar, model):
    with bar.shown():
        assert shown(bar) == (0, "0 network evaluations")
        model.evaluations += 130
        assert shown(bar) == (1.3, "130 network evaluations")
        model.evaluations += 70
        bar.add(2)
        assert shown(bar) == (2, "200 network evaluations")
        model.evaluations += 40
    assert bar._bar.n == 2.4


def test_what_is_done_aside_moves_nothing_and_is_named(bar, model):
    model.evaluations += 50
    with bar.uncounted("LoRA"):
        model.evaluations += 1000
        assert shown(bar) == (0.5, "1050 network evaluations, LoRA")
    model.evaluations += 50
    assert shown(bar) == (1, "1100 network evaluations")


def test_more_than_was_announced_is_no_more_than_all(bar, model):
    model.evaluations += 5000
    assert shown(bar)[0] == 4


def test_a_run_without_evaluations_counts_its_images(model):
    bar = Progress("autoencoder", model, 2, 0)
    bar.add(1)
    assert shown(bar) == (1, "0 network evaluations")
