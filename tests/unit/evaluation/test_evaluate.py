"""The evaluation of a run on disk, with small made-up metrics."""

import json
import math
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.api.metric import NamedMetric
from sde_edit.errors import UserError
from sde_edit.evaluation.evaluate import check_metrics, measure_run
from sde_edit.imaging.batches import batches_of_one_size, sizes_of
from sde_edit.registry import build
from sde_edit.store.runs import Run, batched
from tests.unit.evaluation.runs import Brightness, Pictures, choice, evaluate, make_run


def test_score_is_stored_with_all_that_a_table_needs(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data)
    metric = Brightness()
    progress = []
    scores = evaluate(
        run,
        data,
        [NamedMetric(choice("brightness", scale=1.0), metric)],
        batch_size=5,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    score = scores["brightness"]
    expected = {i: 3.0 * int(i) for i in data.ids()}
    assert score.per_example == expected
    assert score.value == pytest.approx(np.mean(list(expected.values())))
    assert score.low < score.value < score.high
    assert len(score.replicates) == 1000
    assert (score.n, score.version, score.settings) == (12, 1, {"scale": 1.0})
    assert score.convention == "mean value times 1.0"
    assert score.higher_is_better is True
    assert score.seal == run.seal.digest
    assert run.scores() == scores
    assert progress == [(5, 12), (10, 12), (12, 12)]


def test_one_pass_serves_all_missing_metrics_and_done_ones_are_skipped(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data)
    first, second = Brightness(), Brightness(scale=2.0)
    evaluate(run, data, [NamedMetric(choice("a"), first)])
    both = [NamedMetric(choice("a"), first), NamedMetric(choice("b"), second)]
    scores = evaluate(run, data, both, bootstrap=20)
    assert len(first.loads) == len(second.loads) == 1
    assert len(scores["a"].replicates) == 1000
    assert len(scores["b"].replicates) == 20
    evaluate(run, data, both, force=True)
    assert len(first.loads) == len(second.loads) == 2


def test_another_convention_supersedes_the_score(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data)
    evaluate(run, data, [NamedMetric(choice("a"), Brightness())])
    scores = evaluate(run, data, [NamedMetric(choice("a"), Brightness(scale=2.0))])
    assert scores["a"].convention == "mean value times 2.0"
    assert len(list((run.path / "metrics").glob("*.json"))) == 1


def test_unsealed_run_is_refused(tmp_path):
    run = make_run(tmp_path, Pictures(), seal=False)
    with pytest.raises(UserError, match=rf"run .*{run.id} is not finished"):
        evaluate(run, Pictures(), [NamedMetric(choice("a"), Brightness())])


def test_a_limited_run_is_scored_over_the_examples_it_sealed(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data, seal=False)
    run.write_seal(data.ids()[:5], of=data.n)
    scores = evaluate(run, data, [NamedMetric(choice("a"), Brightness())])
    assert list(scores["a"].per_example) == data.ids()[:5]


def test_a_data_set_that_offers_fewer_than_were_sealed_is_named(tmp_path):
    run = make_run(tmp_path, Pictures(n=5))
    with pytest.raises(UserError, match="holds 5 images, and the data set has 3 of them now"):
        evaluate(run, Pictures(n=3), [NamedMetric(choice("a"), Brightness())])


def test_sizes_are_batched_apart(tmp_path):
    data = Pictures(sides=(8, 12))
    metric = Brightness()
    scores = evaluate(
        make_run(tmp_path, data), data, [NamedMetric(choice("a"), metric)], batch_size=4
    )
    assert scores["a"].n == 12
    assert metric.asked == [
        data.ids()[0:8:2],
        data.ids()[1:8:2],
        data.ids()[8::2],
        data.ids()[9::2],
    ]


# ------------------------------------------------------------------ shards and the cache


@dataclass(frozen=True)
class Neighbourly(Brightness):
    """Brightness with what its batch adds in the last digits, as rounding in a network does."""

    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        rows_B1 = super().measure(images_BHWC, examples)
        return rows_B1 + 1e-9 * rows_B1.sum()


def neighbourly() -> tuple[Neighbourly, list[NamedMetric]]:
    metric = Neighbourly()
    return metric, [NamedMetric(choice("a"), metric)]


def stored(run: Run) -> dict[str, dict[str, Any]]:
    """File name -> score, without the time it took."""
    files = sorted((run.path / "metrics").iterdir())
    return {file.name: json.loads(file.read_text()) | {"seconds": 0} for file in files}


def undisturbed(folder: Path, data: Pictures, **options: Any) -> dict[str, dict[str, Any]]:
    """The scores of one process that finds nothing done."""
    run = make_run(folder / "undisturbed", data)
    evaluate(run, data, neighbourly()[1], **{"batch_size": 4} | options)
    return stored(run)


def measure(run: Run, data: Pictures, metrics: Sequence[NamedMetric], batches: Any) -> None:
    measure_run(run, data, metrics, batches, cache=run.path.parents[1] / "cache")


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "features").glob("*/*.safetensors"))


@pytest.mark.parametrize("sides", [(8,), (8, 12)])
def test_shards_merge_to_the_scores_of_one_process(tmp_path, sides):
    data = Pictures(n=26, sides=sides)
    run = make_run(tmp_path, data, seal=False)
    batches = batches_of_one_size(data.ids(), sizes_of(data, data.ids()), 4)
    for shard in (2, 0, 1):
        measure(run, data, neighbourly()[1], batches[shard::3])
    run.write_seal(data.ids(), of=data.n)
    metric, metrics = neighbourly()
    evaluate(run, data, metrics, batch_size=4)
    assert (metric.asked, metric.loads) == ([], [])
    assert stored(run) == undisturbed(tmp_path, data)
    assert stored(run) != undisturbed(tmp_path / "5", data, batch_size=5)


def test_metrics_with_networks_merge_too(tmp_path):
    def metrics() -> list[NamedMetric]:
        kinds = {"frechet": {"extractor": "shapes", "resamplings": 3}, "shapes_perceptual": {}}
        return [NamedMetric(choice(k), build("metrics", k, p)) for k, p in kinds.items()]

    data = Pictures(n=10, sides=(64,))
    alone, run = make_run(tmp_path / "alone", data), make_run(tmp_path, data)
    evaluate(alone, data, metrics(), batch_size=4, bootstrap=3)
    for batch in reversed(batched(data.ids(), 4)):
        measure(run, data, metrics(), [batch])
    evaluate(run, data, metrics(), batch_size=4, bootstrap=3)
    assert stored(run) == stored(alone)


def test_what_is_missing_of_the_shards_is_measured_at_the_end(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data)
    measure(run, data, neighbourly()[1], [data.ids()[4:8]])
    metric, metrics = neighbourly()
    progress = []
    evaluate(run, data, metrics, batch_size=4, on_progress=lambda *done: progress.append(done))
    assert metric.asked == [data.ids()[:4], data.ids()[8:]]
    assert progress == [(8, 12), (12, 12)]
    assert stored(run) == undisturbed(tmp_path, data)


def test_a_shard_that_measured_nothing_is_made_up_for_in_its_own_batches(tmp_path):
    """Whichever process measures an image, it does so among the same others."""
    data = Pictures(n=26, sides=(8, 12))
    run = make_run(tmp_path, data)
    batches = batches_of_one_size(data.ids(), sizes_of(data, data.ids()), 4)
    measure(run, data, neighbourly()[1], batches[0::2])
    metric, metrics = neighbourly()
    evaluate(run, data, metrics, batch_size=4)
    assert metric.asked == [list(batch) for batch in batches[1::2]]
    assert stored(run) == undisturbed(tmp_path, data)


def test_a_batch_that_lacks_a_row_is_measured_whole(tmp_path):
    """As after a smaller limit, whose last batch was shorter."""
    data = Pictures()
    run = make_run(tmp_path, data)
    measure(run, data, neighbourly()[1], batched(data.ids()[:6], 4))
    metric, metrics = neighbourly()
    evaluate(run, data, metrics, batch_size=4)
    assert metric.asked == [data.ids()[4:8], data.ids()[8:]]
    assert stored(run) == undisturbed(tmp_path, data)
    again, metrics = neighbourly()
    for file in (run.path / "metrics").iterdir():
        file.unlink()
    evaluate(run, data, metrics, batch_size=4)
    assert again.asked == []
    assert stored(run) == undisturbed(tmp_path, data)


def test_a_killed_evaluation_keeps_what_it_measured(tmp_path):
    @dataclass(frozen=True)
    class Killed(Neighbourly):
        def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().measure(images_BHWC, examples)

    data = Pictures()
    run = make_run(tmp_path, data)
    with pytest.raises(KeyboardInterrupt):
        evaluate(run, data, [NamedMetric(choice("a"), Killed())], batch_size=4)
    metric, metrics = neighbourly()
    evaluate(run, data, metrics, batch_size=4)
    assert metric.asked == [data.ids()[8:]]
    assert stored(run) == undisturbed(tmp_path, data)


@pytest.mark.parametrize("limit", ["_UNSAVED_ROWS", "_UNSAVED_SECONDS"])
def test_parts_are_written_while_it_measures(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(f"sde_edit.evaluation.evaluate.{limit}", 0)
    data, written = Pictures(), []
    run = make_run(tmp_path, data)
    evaluate(
        run,
        data,
        neighbourly()[1],
        batch_size=4,
        on_progress=lambda *_: written.append(len(parts(tmp_path))),
    )
    assert written == [1, 2, 3]


def test_batches_that_are_not_made_yet_are_left_out(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data, seal=False)
    (run.path / "outputs" / "005.png").unlink()
    metric, metrics = neighbourly()
    measure(run, data, metrics, batched(data.ids(), 4))
    assert metric.asked == [data.ids()[:4], data.ids()[8:]]


def test_a_damaged_part_is_measured_again(tmp_path, caplog):
    data = Pictures()
    run = make_run(tmp_path, data)
    for batch in batched(data.ids(), 4):
        measure(run, data, neighbourly()[1], [batch])
    bad = parts(tmp_path)[1]
    bad.write_bytes(bad.read_bytes()[:-8])
    metric, metrics = neighbourly()
    evaluate(run, data, metrics, batch_size=4)
    assert metric.asked == [data.ids()[4:8]]
    assert str(bad) in caplog.text
    assert stored(run) == undisturbed(tmp_path, data)


def test_a_changed_output_is_measured_again_with_its_batch(tmp_path):
    data, changed = Pictures(), Pictures(gains={5: 7})
    evaluate(make_run(tmp_path, data), data, neighbourly()[1], batch_size=4)
    run = make_run(tmp_path, changed)
    metric, metrics = neighbourly()
    scores = evaluate(run, changed, metrics, batch_size=4)
    assert metric.asked == [data.ids()[4:8]]
    assert scores["a"].per_example["005"] == pytest.approx(35)
    assert stored(run) == undisturbed(tmp_path, changed)


def test_force_replaces_what_is_cached(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data)
    evaluate(run, data, neighbourly()[1], batch_size=4)
    before = parts(tmp_path)
    metric, metrics = neighbourly()
    evaluate(run, data, metrics, batch_size=4, force=True)
    assert metric.asked == batched(data.ids(), 4)
    assert len(parts(tmp_path)) == len(before) == 1
    assert parts(tmp_path) != before


def test_another_batch_size_goes_on_with_what_is_cached(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data)
    measure(run, data, neighbourly()[1], batched(data.ids(), 5))
    metric, metrics = neighbourly()
    evaluate(run, data, metrics, batch_size=4)
    assert metric.asked == []
    assert stored(run) == undisturbed(tmp_path, data, batch_size=5)


def test_a_metric_that_comes_later_does_not_make_others_measure(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data)
    metric, metrics = neighbourly()
    measure(run, data, metrics, batched(data.ids(), 4))
    added = Brightness()
    evaluate(run, data, [*metrics, NamedMetric(choice("b"), added)], batch_size=4)
    assert (len(metric.asked), len(added.asked)) == (3, 3)
    assert (len(metric.loads), len(added.loads)) == (1, 1)


def test_two_evaluators_at_once_both_end_well(tmp_path):
    data = Pictures(n=40)
    run = make_run(tmp_path, data)
    barrier = threading.Barrier(3)

    def work(force: bool) -> Any:
        barrier.wait()
        return evaluate(run, data, neighbourly()[1], batch_size=4, force=force)

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(work, force) for force in (False, True, False)]
        values = {future.result()["a"].value for future in futures}
    assert len(values) == 1
    assert stored(run) == undisturbed(tmp_path, data)


def test_the_cache_may_be_deleted_at_any_time(tmp_path, monkeypatch):
    monkeypatch.setattr("sde_edit.evaluation.evaluate._UNSAVED_ROWS", 0)
    data = Pictures()
    run = make_run(tmp_path, data)
    delete = lambda *_: shutil.rmtree(tmp_path / "cache")  # noqa: E731
    evaluate(run, data, neighbourly()[1], batch_size=4, on_progress=delete)
    assert stored(run) == undisturbed(tmp_path, data)


def test_missing_weights_are_told_before_anything_is_loaded(tmp_path):
    @dataclass(frozen=True)
    class Unfetched(Brightness):
        def fetch(self) -> None:
            raise UserError("cannot fetch x. Put it into y")

    bad = Unfetched()
    metrics = [NamedMetric(choice("good"), Brightness()), NamedMetric(choice("bad"), bad)]
    told = ["metric 'bad': cannot fetch x. Put it into y. Or leave 'bad' out"]
    assert check_metrics(metrics) == told
    with pytest.raises(UserError, match="metric 'bad': cannot fetch x"):
        evaluate(make_run(tmp_path, Pictures()), Pictures(), metrics)
    assert bad.loads == []


def test_images_made_anew_after_the_seal_are_refused(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data)
    make_run(tmp_path, Pictures(gains={3: 2}), seal=False)
    with pytest.raises(UserError, match=r"changed since the run was sealed: run the same command"):
        evaluate(run, data, [NamedMetric(choice("a"), Brightness())])


def test_a_seal_that_changes_meanwhile_keeps_the_old_score_from_being_written(tmp_path):
    data = Pictures()
    run = make_run(tmp_path, data, seal=False)
    run.write_seal(data.ids()[:5], of=data.n)
    extended = lambda done, total: run.write_seal(data.ids(), of=data.n)  # noqa: E731
    metrics = [NamedMetric(choice("a"), Brightness())]
    with pytest.raises(UserError, match=r"changed while it was scored: run the same command"):
        evaluate(run, data, metrics, on_progress=extended)
    assert evaluate(run, data, metrics)["a"].n == 12


def test_values_that_are_not_finite_never_reach_a_file(tmp_path):
    run = make_run(tmp_path, Pictures())
    with pytest.raises(
        UserError, match=r"metric 'a': .*example '000' is not finite.*leave 'a' out"
    ):
        evaluate(run, Pictures(), [NamedMetric(choice("a"), Brightness(scale=math.inf))])
    assert not (run.path / "metrics").exists()


def test_a_metric_s_own_error_names_the_metric(tmp_path):
    run = make_run(tmp_path, Pictures())
    known = build("metrics", "masked_error", {"region": "known"})
    with pytest.raises(UserError, match=r"metric 'k': the mask of example '000' leaves no known"):
        evaluate(run, Pictures(), [NamedMetric(choice("k"), known)])
