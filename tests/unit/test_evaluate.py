"""The evaluation of a run on disk, with small made-up metrics."""

import hashlib
import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sde_edit.evaluate import batches, evaluate_run, prefetch, resampling_counts, score_of
from sde_edit.features import PerImage
from sde_edit.registry import build
from sde_edit.store import Row, Run, RunStore
from sde_edit.types import Choice, Example, NamedMetric, RunSpec, UserError


@dataclass(frozen=True)
class Brightness(PerImage):
    """Mean value of the output; counts how often it is loaded and asked."""

    scale: float = 1.0
    higher_is_better = True
    asked: list[list[str]] = field(default_factory=list, compare=False)
    loads: list[str] = field(default_factory=list, compare=False)

    def convention(self) -> str:
        return f"mean value times {self.scale}"

    def load(self, device: str) -> None:
        self.loads.append(device)

    def rows(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        self.asked.append([example.id for example in examples])
        return self.scale * images_BHWC.double().flatten(1).mean(1, keepdim=True)


@dataclass(frozen=True)
class Pictures:
    """Examples of one or two sizes, made from their number."""

    n: int = 12
    sizes: tuple[int, ...] = (8,)

    def ids(self) -> list[str]:
        return [f"{i:03d}" for i in range(self.n)]

    def load(self, example_id: str) -> Example:
        size = self.sizes[int(example_id) % len(self.sizes)]
        image = np.full((size, size, 3), int(example_id), np.uint8)
        return Example(example_id, image, mask=np.ones((size, size), np.float32))


def choice(name: str, **params: object) -> Choice:
    return Choice(name=name, kind=name, version=1, params=params)


def make_run(folder: Path, dataset: Pictures, *, seed: int = 0, seal: bool = True) -> Run:
    part = Choice("x", "x", 1)
    spec = RunSpec(part, part, part, part, 10, "leading", "min", "float32", seed)
    run = RunStore(folder).open(spec)
    lines = []
    for example_id in dataset.ids():
        pixels = (dataset.load(example_id).image * 3 + seed).astype(np.uint8)
        path = run.path / "outputs" / f"{example_id}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        row = Row(example_id, path.name, path.stat().st_size, digest, 0.0, 0.0, "cpu", "float32")
        lines.append(json.dumps(row.__dict__))
    (run.path / "rows").mkdir(exist_ok=True)
    (run.path / "rows" / "a.jsonl").write_text("\n".join(lines) + "\n")
    if seal:
        run.write_seal(dataset.ids(), of=dataset.n)
    return run


def test_score_is_stored_with_all_that_a_table_needs(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data)
    metric = Brightness()
    progress = []
    scores = evaluate_run(
        run,
        data,
        [NamedMetric(choice("brightness", scale=1.0), metric)],
        batch_size=5,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    score = scores["brightness"]
    expected = {i: 3.0 * int(i) for i in data.ids()}
    assert score["per_example"] == expected
    assert score["value"] == pytest.approx(np.mean(list(expected.values())))
    assert score["low"] < score["value"] < score["high"]
    assert len(score["replicates"]) == 1000
    assert (score["n"], score["version"], score["settings"]) == (12, 1, {"scale": 1.0})
    assert score["convention"] == "mean value times 1.0"
    assert score["higher_is_better"] is True
    assert score["seal"] == run.seal.digest
    assert run.scores() == scores
    assert progress == [(5, 12), (10, 12), (12, 12)]


def test_one_pass_serves_all_missing_metrics_and_done_ones_are_skipped(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data)
    first, second = Brightness(), Brightness(scale=2.0)
    evaluate_run(run, data, [NamedMetric(choice("a"), first)])
    both = [NamedMetric(choice("a"), first), NamedMetric(choice("b"), second)]
    scores = evaluate_run(run, data, both, bootstrap=20)
    assert len(first.loads) == len(second.loads) == 1
    assert len(scores["a"]["replicates"]) == 1000
    assert len(scores["b"]["replicates"]) == 20
    evaluate_run(run, data, both, force=True)
    assert len(first.loads) == len(second.loads) == 2


def test_another_convention_supersedes_the_score(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data)
    evaluate_run(run, data, [NamedMetric(choice("a"), Brightness())])
    scores = evaluate_run(run, data, [NamedMetric(choice("a"), Brightness(scale=2.0))])
    assert scores["a"]["convention"] == "mean value times 2.0"
    assert len(list((run.path / "metrics").glob("*.json"))) == 1


def test_unsealed_run_is_refused(tmp_path):
    run = make_run(tmp_path, Pictures(), seal=False)
    with pytest.raises(UserError, match=rf"run .*{run.id} is not finished"):
        evaluate_run(run, Pictures(), [NamedMetric(choice("a"), Brightness())])


def test_a_limited_run_is_scored_over_the_examples_it_sealed(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data, seal=False)
    run.write_seal(data.ids()[:5], of=data.n)
    scores = evaluate_run(run, data, [NamedMetric(choice("a"), Brightness())])
    assert list(scores["a"]["per_example"]) == data.ids()[:5]


def test_sizes_are_batched_apart(tmp_path):
    data = Pictures(sizes=(8, 12))
    metric = Brightness()
    scores = evaluate_run(
        make_run(tmp_path, data), data, [NamedMetric(choice("a"), metric)], batch_size=4
    )
    assert scores["a"]["n"] == 12
    assert sorted(map(len, metric.asked)) == [2, 2, 4, 4]


# ------------------------------------------------------------------ what can be wrong


def test_truncated_image_is_missing(tmp_path):
    run = make_run(tmp_path, Pictures())
    path = run.path / "outputs" / "004.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"1 of its 12 images .*'004'.*Run it again"):
        evaluate_run(run, Pictures(), [NamedMetric(choice("a"), Brightness())])


def test_unreadable_image_is_named(tmp_path):
    run = make_run(tmp_path, Pictures())
    path = run.path / "outputs" / "004.png"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(UserError, match=r"004.png cannot be read.*Delete it"):
        evaluate_run(run, Pictures(), [NamedMetric(choice("a"), Brightness())])


def test_image_of_another_size_is_named(tmp_path):
    run = make_run(tmp_path, Pictures())
    with pytest.raises(UserError, match=r"000.png is 8x8, example '000' is 12x12"):
        evaluate_run(run, Pictures(sizes=(12,)), [NamedMetric(choice("a"), Brightness())])


def test_values_that_are_not_finite_never_reach_a_file(tmp_path):
    run = make_run(tmp_path, Pictures())
    with pytest.raises(
        UserError, match=r"metric 'a': .*example '000' is not finite.*leave 'a' out"
    ):
        evaluate_run(run, Pictures(), [NamedMetric(choice("a"), Brightness(scale=math.inf))])
    assert not (run.path / "metrics").exists()


def test_a_metric_s_own_error_names_the_metric(tmp_path):
    run = make_run(tmp_path, Pictures())
    known = build("metrics", "masked_error", {"region": "known"})
    with pytest.raises(UserError, match=r"metric 'k': the mask of example '000' leaves no known"):
        evaluate_run(run, Pictures(), [NamedMetric(choice("k"), known)])


# ------------------------------------------------------------------ loading


def item(size: int, example_id: str = "0"):
    image = np.zeros((size, size, 3), np.uint8)
    return Example(example_id, image), image


def test_batches_hold_one_size_and_lose_nothing():
    sizes = [4, 8, 4, 4, 8, 4]
    made = list(batches([item(size, str(i)) for i, size in enumerate(sizes)], 2))
    assert [[e.id for e, _ in batch] for batch in made] == [["0", "2"], ["1", "4"], ["3", "5"]]


def test_prefetch_keeps_order_and_a_bounded_lead():
    started: list[str] = []
    lock = threading.Lock()

    def load(example_id: str):
        with lock:
            started.append(example_id)
        return item(4, example_id)

    ids = [str(i) for i in range(50)]
    items = prefetch(load, ids, workers=2)
    assert next(items)[0].id == "0"
    assert len(started) <= 6
    assert [e.id for e, _ in items] == ids[1:]


# ------------------------------------------------------------------ bootstrap


def rows_of(values: np.ndarray) -> dict[str, Tensor]:
    return {f"{i:04d}": torch.tensor([float(v)]).double() for i, v in enumerate(values)}


def test_resamplings_depend_on_the_ids_alone():
    ids = ["b", "a", "c"]
    counts = resampling_counts(ids, 50)
    assert counts.sum(1).tolist() == [3.0] * 50
    assert torch.equal(counts, resampling_counts(["c", "b", "a"], 50))
    assert torch.equal(counts[:10], resampling_counts(ids, 10))
    assert not torch.equal(counts, resampling_counts(["x", "a", "c"], 50))


def test_differences_of_two_runs_are_paired():
    """A constant difference between two runs has no spread, however much the images differ."""
    values = np.random.default_rng(0).normal(size=100)
    a = score_of(Brightness(), rows_of(values), 200)
    b = score_of(Brightness(), dict(reversed(rows_of(values + 1).items())), 200)
    difference = np.array(b.replicates) - np.array(a.replicates)
    assert np.std(a.replicates) > 0.05
    np.testing.assert_allclose(difference, 1)


def test_interval_is_the_textbook_one_for_a_mean():
    values = np.random.default_rng(1).normal(5, 2, size=400)
    score = score_of(Brightness(), rows_of(values), 4000)
    half = 1.96 * values.std() / 20
    assert score.low == pytest.approx(score.value - half, abs=0.1 * half)
    assert score.high == pytest.approx(score.value + half, abs=0.1 * half)


def test_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    scores = [score_of(Brightness(), rows_of(rng.normal(size=60)), 200) for _ in range(200)]
    covered = np.mean([score.low <= 0 <= score.high for score in scores])
    assert 0.89 <= covered <= 0.99


def test_interval_of_a_distance_holds_its_value():
    """Resampling repeats rows, which biases a Fréchet distance; the interval must not follow."""
    rng = np.random.default_rng(3)
    rows = {f"{i:03d}": torch.from_numpy(rng.normal(size=16)) for i in range(40)}
    score = score_of(build("metrics", "frechet", {"extractor": "shapes"}), rows, 100)
    assert score.low < score.value < score.high
    assert np.mean(score.replicates) > score.high, "the bias is larger than the spread"
    assert score.per_example is None


def test_scores_do_not_depend_on_the_order_of_arrival():
    values = rows_of(np.arange(20.0))
    assert score_of(Brightness(), values, 50) == replace(
        score_of(Brightness(), dict(reversed(values.items())), 50)
    )
