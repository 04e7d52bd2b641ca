"""Two runs compared example by example: pairing, wording, the choice of examples, refusals."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from sde_edit.api.example import Example
from sde_edit.api.metric import NamedMetric
from sde_edit.api.spec import ComponentSpec
from sde_edit.commands.compare import (
    chosen_metric,
    describe,
    draw,
    most_different,
    open_pair,
    pair_of,
    write_sheet,
)
from sde_edit.commands.find import find_run
from sde_edit.errors import UserError
from sde_edit.evaluation.bootstrap import score_of
from sde_edit.registry import build
from sde_edit.report.selection import diff_specs
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import RunStore, write_score
from tests.builders import add_images, difference_alone, grey, make_spec, png

IDS = [f"e{i}" for i in range(10)]
PSNR = NamedMetric(ComponentSpec("psnr", "psnr", 1), build("metrics", "psnr", {}))
SIDE = 8


class Scenes:
    """Grey squares with a caption."""

    def ids(self):
        return IDS

    def load(self, example_id):
        image = np.full((SIDE, SIDE, 3), 10 * IDS.index(example_id), np.uint8)
        mask = np.zeros((SIDE, SIDE), np.float32)
        return Example(example_id, image, caption=f"scene {example_id}", mask=mask)


def spec(sampler="ode", guidance=7.5, digest="d", **settings):
    made = make_spec(
        sampler,
        task_params={"guidance": guidance, "prompt": "{caption}"},
        sampler_params=settings,
        data_params={"masks": "small"},
    )
    return dataclasses.replace(made, data=dataclasses.replace(made.data, digest=digest))


def store_score(run, name, score, *, higher_is_better=True):
    stored = dataclasses.replace(
        score,
        metric=name,
        kind=name,
        seal=run.seal.digest,
        convention=f"convention of {name}",
        higher_is_better=higher_is_better,
    )
    write_score(run.score_file(name, 1, {}), stored)


def add(store, values, *, seal=True, fid=None, **asked):
    """A run whose images have these values of psnr, by id."""
    run = store.open(spec(**asked))
    add_images(run, list(values), of=len(IDS), image=png(grey(100, SIDE)), seal=seal)
    if seal:
        psnr = {i: torch.tensor([value], dtype=torch.float64) for i, value in values.items()}
        store_score(run, "psnr", score_of(PSNR, psnr, 200, seal=""))
    if fid is not None:
        whole = score_of(PSNR, psnr, 200, seal="")
        distance = dataclasses.replace(whole, value=fid, per_example=None)
        store_score(run, "fid", distance, higher_is_better=False)
    return run


A = {i: 20.0 + n for n, i in enumerate(IDS)}
B = {i: value - 1 for i, value in A.items()} | {"e3": A["e3"] + 4, "e4": A["e4"]}


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path)


def cells(text, metric):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {metric}")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_table_holds_values_difference_verdict_and_share(store):
    pair = pair_of(add(store, A, sampler="sde", fid=3.0), add(store, B, fid=4.0))
    text = describe(pair)
    a, b, difference, verdict, share, effect = cells(text, "psnr ↑")
    assert a.startswith("24.5 [")
    assert b.startswith("24.1 [")
    assert difference.startswith("0.40 [")
    assert verdict == "undecided"
    assert share == "80 % (8 of 10, 1 equal)"
    assert effect == "0.25"
    assert cells(text, "fid ↓")[2].startswith("−1.0")
    assert cells(text, "fid ↓")[4] == "—"
    assert "convention of psnr" in text
    assert text.count("n = 10") == 1


def test_a_constant_difference_is_decided_whichever_run_comes_first(store):
    better, worse = add(store, A), add(store, {i: v - 1 for i, v in A.items()}, sampler="sde")
    assert cells(describe(pair_of(better, worse)), "psnr ↑")[3] == "A better"
    assert cells(describe(pair_of(worse, better)), "psnr ↑")[3] == "B better"


def test_of_runs_with_different_examples_the_common_ones_are_compared(store, tmp_path):
    common = IDS[:6]
    pair = pair_of(
        add(store, A, sampler="sde", fid=3.0),
        add(store, {i: B[i] for i in common}, fid=4.0),
    )
    small = RunStore(tmp_path / "small")
    alone = pair_of(
        add(small, {i: A[i] for i in common}, sampler="sde"),
        add(small, {i: B[i] for i in common}),
    )
    found, wanted = (difference_alone(*[[r] for r in p.shared], "psnr") for p in (pair, alone))
    assert found == wanted
    text = describe(pair)
    assert "A holds 10 examples and B 6; the 6 that both have are compared" in text
    assert "fid has no paired difference: it is of a whole set of images" in text
    assert cells(text, "fid ↓")[:4] == [
        f"3.0 {cells(text, 'fid ↓')[0].split(' ', 1)[1]}",
        f"4.0 {cells(text, 'fid ↓')[1].split(' ', 1)[1]}",
        "—",
        "—",
    ]
    assert cells(text, "psnr ↑")[4] == "67 % (4 of 6, 1 equal)"


def test_specs_differ_in_a_line_per_key(store):
    pair = pair_of(add(store, A, sampler="bdia", gamma=0.5), add(store, B, guidance=3.0))
    told = describe(pair).split("## Where the specs differ\n\n")[1].splitlines()
    assert sorted(told) == [
        "- sampler.gamma: A 0.5, B None",
        "- sampler: A bdia, B ode",
        "- task.guidance: A 7.5, B 3.0",
    ]


def test_another_digest_under_the_same_name_is_a_difference():
    a = spec()
    b = dataclasses.replace(a, model=dataclasses.replace(a.model, digest="n" * 64))
    assert diff_specs(a, b) == {"model.digest": ("digest-of-shapes", "n" * 64)}
    assert diff_specs(a, a) == {}


def test_half_of_the_sheet_is_where_a_is_better_and_half_where_b_is():
    gains = {"a": 1.0, "b": 3.0, "c": -2.0, "d": -5.0, "e": 0.0, "f": 2.0, "g": -1.0}
    assert most_different(gains, 4) == ["b", "f", "d", "c"]
    assert most_different(gains, 3) == ["b", "f", "d"]
    assert most_different({"a": 1.0, "b": 0.0}, 6) == ["a"]


def test_gains_know_which_direction_is_better(store):
    higher, lower = add(store, A), add(store, B, sampler="sde")
    gains = pair_of(higher, lower).gains("psnr")
    assert (gains["e0"], gains["e3"]) == (1.0, -4.0)
    for run in (higher, lower):
        record = json.loads(run.score_file("psnr", 1, {}).read_text())
        text = json.dumps(record | {"higher_is_better": False})
        write_atomic(run.score_file("psnr", 1, {}), text.encode())
    assert pair_of(higher, lower).gains("psnr")["e0"] == -1.0


def test_an_example_without_a_value_is_no_gain_and_no_loss(store):
    runs = add(store, A), add(store, B, sampler="sde")
    for run, values in zip(runs, (A, B), strict=True):
        some = {i: value for i, value in values.items() if i != "e0"}
        psnr = score_of(
            PSNR,
            {i: torch.tensor([v], dtype=torch.float64) for i, v in values.items()},
            200,
            seal="",
        )
        store_score(run, "psnr", dataclasses.replace(psnr, per_example=some))
    pair = pair_of(*runs)
    assert pair.gains("psnr").keys() == {*IDS[1:]}
    assert [cell.split()[0] for cell in cells(describe(pair), "psnr")[:2]] == ["24.5", "24.1"]


def test_a_row_of_the_sheet_is_an_example_in_both_runs(store):
    pair = pair_of(add(store, A, sampler="sde"), add(store, B))
    one, two = (draw(pair, "psnr", Scenes(), IDS[:n]) for n in (1, 2))
    assert one.width == two.width
    assert two.height > one.height


@pytest.fixture
def attempted(store):
    """Two runs that know the command they were made by."""
    runs = add(store, A, sampler="sde"), add(store, B)
    for run in runs:
        text = json.dumps({"overrides": ["data=shapes", "data.n=10"], "images": 0})
        write_atomic(run.path / "attempts" / "a.json", text.encode())
    return runs


def test_the_sheet_is_named_after_the_runs(attempted, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "sde_edit.commands.compare.data_set", lambda overrides: ("scenes", Scenes())
    )
    a, b = attempted
    where = [f"paths.results={tmp_path}"]
    sheet = write_sheet(open_pair(a.id, b.id, where), where, metric=None, examples=4)
    assert sheet == tmp_path / "figures" / f"compare__{a.id}__{b.id}.png"
    with Image.open(sheet) as image:
        assert image.height == draw(pair_of(a, b), "psnr", Scenes(), ["e0", "e1", "e3"]).height


def test_no_sheet_where_no_example_differs(store, attempted):
    twin = add(store, A, sampler="edict")
    pair = pair_of(attempted[0], twin)
    assert write_sheet(pair, [], metric="psnr", examples=4) is None
    assert cells(describe(pair), "psnr ↑")[3:] == ["undecided", "0 % (0 of 10, 10 equal)", "—"]


def test_the_metric_of_the_sheet_is_the_data_sets_first_per_example(store):
    pair = pair_of(add(store, A, fid=3.0), add(store, B, sampler="sde", fid=4.0))
    assert chosen_metric(pair, None, ["fid", "ssim", "psnr"]) == "psnr"
    assert chosen_metric(pair, None, []) == "psnr"
    with pytest.raises(UserError, match="no metric 'fid' per example in both runs"):
        chosen_metric(pair, "fid", [])


def test_runs_are_found_by_beginning_or_path(store, tmp_path):
    a, b = add(store, A), add(store, B, sampler="sde")
    for name in (a.id, a.id[:6], a.path.name, "inpaint__ode", str(a.path), f"{a.path}/"):
        assert find_run(name, tmp_path).id == a.id
    assert find_run(str(b.path), tmp_path / "elsewhere").id == b.id
    with pytest.raises(UserError, match=rf"begins 2 runs(.|\n)*{b.path.name}"):
        find_run("inpaint", tmp_path)
    with pytest.raises(UserError, match=r"no run 'zzz' in .*sde-edit runs paths.results="):
        find_run("zzz", tmp_path)


def test_runs_that_cannot_be_paired_are_refused(store):
    a = add(store, A)
    with pytest.raises(UserError, match="are the same run"):
        pair_of(a, a)
    with pytest.raises(UserError, match="is not finished"):
        pair_of(a, add(store, B, sampler="sde", seal=False))
    with pytest.raises(UserError, match=r"different data.*data\.digest: A d, B other"):
        pair_of(a, add(store, B, sampler="sde", digest="other"))
    rest = add(store, {i: B[i] for i in IDS[:2]}, sampler="edict")
    few = add(store, {i: A[i] for i in IDS[2:]}, sampler="bdia")
    with pytest.raises(UserError, match="no example in common"):
        pair_of(rest, few)


def test_settings_have_no_effect_and_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"steps=25: .*paths\."):
        open_pair("a", "b", ["steps=25"])
