"""How `run`, `evaluate` and `summary` end."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from sde_edit.api.metric import NamedMetric
from sde_edit.api.spec import ComponentSpec
from sde_edit.commands.compare import pair_of
from sde_edit.commands.scores import describe_places, describe_scores
from sde_edit.evaluation.bootstrap import score_of
from sde_edit.registry import build
from sde_edit.report.table import number
from sde_edit.store.runs import Run, RunStore, write_score
from tests.builders import add_images, add_score, difference_alone, make_spec

PSNR = NamedMetric(ComponentSpec("psnr", "psnr", 1), build("metrics", "psnr", {}))
A = {f"e{i}": 20.0 + i for i in range(8)}
B = {i: value - 1 - (i == "e3") for i, value in A.items()}


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


def add(
    store: RunStore, sampler: str, values: Mapping[str, float], masks: str = "small", seed: int = 0
) -> Run:
    """A run whose images have these values of psnr, by id."""
    run = store.open(make_spec(sampler, data_params={"masks": masks}, seed=seed))
    add_images(run, list(values), of=8)
    rows = {i: torch.tensor([value], dtype=torch.float64) for i, value in values.items()}
    assert run.seal
    score = score_of(PSNR, rows, 200, seal=run.seal.digest)
    write_score(run.score_file("psnr", 1, {}), dataclasses.replace(score, kind="psnr"))
    return run


def cells(text: str, metric: str) -> list[list[str]]:
    found = [line for line in text.splitlines() if line.startswith(f"| {metric}")]
    return [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in found]


def test_each_further_run_is_compared_with_the_first(store: RunStore) -> None:
    runs = [add(store, "ode", A), add(store, "sde", B), add(store, "sde2", A)]
    ode, sde, sde2 = cells(describe_scores(runs, whole=False), "psnr")
    assert ode[3:] == ["", "", ""]
    assert sde[3].startswith("−1.12")
    assert sde[4] == "worse"
    assert sde2[4] == "undecided"


def test_of_unlike_runs_the_common_examples_are_compared(store: RunStore) -> None:
    few = {i: B[i] for i in list(B)[:5]}
    runs = [add(store, "ode", A), add(store, "sde", few)]
    add_score(runs[0], "fid", 3.0)
    add_score(runs[1], "fid", 4.0)
    text = describe_scores(runs, whole=False)
    ode, sde = cells(text, "psnr")
    assert (ode[2], sde[2]) == ("8 of 8", "5 of 8")
    wanted = difference_alone(*([one] for one in reversed(pair_of(*runs).shared)), "psnr")
    assert not isinstance(wanted, str)
    assert wanted.value is not None
    assert sde[3].startswith(number(wanted.value, 2))
    assert "paired over 5 examples, those that all of them have" in text
    assert "fid has no difference sde − ode: it is of a whole set" in text


def test_a_run_that_is_being_extended_is_compared_on_what_was_sealed(store: RunStore) -> None:
    ids = list(A)
    short = add(store, "ode", {i: A[i] for i in ids[:6]})
    record = json.loads(short.row_file("a").read_text().splitlines()[0])
    for i in ids[6:]:
        line = json.dumps(record | {"id": i}) + "\n"
        short.row_file(f"b{i}").write_text(line)
    text = describe_scores([short, add(store, "sde", B)], whole=False)
    assert cells(text, "psnr")[0][2] == "6 of 8"
    assert "paired over 6 examples, those that all of them have" in text
    assert cells(text, "psnr")[1][4] == "worse"


def test_runs_without_a_common_example_are_not_compared(store: RunStore) -> None:
    ids = list(A)
    parts = [{i: A[i] for i in part} for part in (ids[:4], ids[4:])]
    text = describe_scores(
        [add(store, s, p) for s, p in zip("ab", parts, strict=True)], whole=False
    )
    assert cells(text, "psnr")[1][3:] == ["", "", ""]
    assert "psnr has no difference b − a: the runs have no example in common" in text


def test_runs_of_other_data_are_not_compared(store: RunStore) -> None:
    runs = [add(store, "ode", A), add(store, "ode", B, masks="large")]
    text = describe_scores(runs, whole=False)
    assert "verdict" not in text
    assert [line[0] for line in cells(text, "psnr")] == [
        "ode data.masks=small",
        "ode data.masks=large",
    ]


def test_samplers_are_compared_at_equal_settings(store: RunStore) -> None:
    settings = ("small", "large")
    runs = [add(store, "ode", A, masks) for masks in settings]
    runs += [add(store, "sde", B, masks) for masks in settings]
    text = describe_scores(runs, whole=False)
    assert "− ode of the same settings" in text
    found = {line[0]: line[3:] for line in cells(text, "psnr")}
    for masks in settings:
        assert found[f"ode data.masks={masks}"] == ["", "", ""]
        assert found[f"sde data.masks={masks}"][1] == "worse"
    assert text.count("paired over 8 examples") == 1


def test_seeds_are_averaged_within_an_example(store: RunStore) -> None:
    """The mean over seeds is compared: noise of one seed that another cancels is none."""
    noise = {i: (-1) ** place * 3.0 for place, i in enumerate(A)}
    up, down = ({i: B[i] + sign * noise[i] for i in A} for sign in (1, -1))
    runs = [add(store, "ode", A, seed=seed) for seed in (0, 1)]
    runs += [add(store, "sde", up), add(store, "sde", down, seed=1)]
    text = describe_scores(runs, whole=False)
    ode, sde = cells(text, "psnr")
    assert ode[0] == "ode, mean of seeds 0, 1"
    assert sde[0] == "sde, mean of seeds 0, 1"
    assert sde[3].startswith("−1.12")
    assert sde[4] == "worse"
    assert sde[5] == "−3.18, 0 %"  # of the means: 7 differences of −1 and one of −2
    alone = cells(describe_scores([runs[0], runs[2]], whole=False), "psnr")
    assert alone[1][4] == "undecided"


def test_if_only_the_seed_differs_seeds_are_compared(store: RunStore) -> None:
    runs = [add(store, "sde", A), add(store, "sde", B, seed=1)]
    first, second = cells(describe_scores(runs, whole=False), "psnr")
    assert (first[0], second[0]) == ("sde seed=0", "sde seed=1")
    assert second[4] == "worse"


def test_of_seeds_with_different_examples_the_common_ones_count(store: RunStore) -> None:
    few = {i: B[i] for i in list(B)[:6]}
    runs = [add(store, "ode", A), add(store, "sde", B), add(store, "sde", few, seed=1)]
    ode, sde = cells(describe_scores(runs, whole=False), "psnr")
    assert (ode[2], sde[2]) == ("8 of 8", "6 of 8")


def test_metrics_that_were_not_asked_for_are_left_out(store: RunStore) -> None:
    run = add(store, "ode", A)
    add_score(run, "fid", 3.0)
    assert "fid" in describe_scores([run], whole=False)
    assert "fid" not in describe_scores([run], {run.id: ["psnr"]}, whole=False)
    text = describe_scores([run, run], {}, whole=False)
    assert "psnr" not in text
    assert len(cells(text, "seconds/image")) == 1


def test_places(store: RunStore) -> None:
    a, b = add(store, "ode", A), add(store, "sde", B)
    (a.path / "contact.png").touch()
    assert describe_places([a, b, a]).splitlines() == [
        f"run {a.id}: {a.path}",
        f"contact sheet: {a.path / 'contact.png'}",
        f"run {b.id}: {b.path}",
    ]
