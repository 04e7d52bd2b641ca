"""Metrics that fail: what the others keep, and what is found before the images are made."""

import http.server
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from sde_edit.api.example import Example
from sde_edit.api.metric import NamedMetric
from sde_edit.cli import main
from sde_edit.errors import UserError
from sde_edit.evaluation.evaluate import check_metrics, evaluate_run
from sde_edit.evaluation.weights import fetch
from sde_edit.registry import build
from sde_edit.store.runs import RunStore
from tests.unit.evaluation.test_evaluate import Brightness, Pictures, choice, make_run

SMALL = ["steps=4", "data.limit=2", "hardware.batch_size=2", "hardware.threads=1"]


@dataclass(frozen=True)
class Unfetched(Brightness):
    def fetch(self) -> None:
        raise UserError("cannot fetch x. Put it into y")


@dataclass(frozen=True)
class Unloadable(Brightness):
    def load(self, device: str) -> None:
        raise UserError("x is damaged")


@dataclass(frozen=True)
class NotFinite(Brightness):
    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        return super().measure(images_BHWC, examples) + float("nan")


@dataclass(frozen=True)
class TooLarge(Brightness):
    def measure(self, images_BHWC: Tensor, examples: Sequence[Example]) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")


@dataclass(frozen=True)
class NotAggregated(Brightness):
    def aggregate(self, rows_ND: Tensor, counts_BN: Tensor) -> Tensor:
        raise UserError("too few images")


BROKEN = {
    "unfetched": (Unfetched, "cannot fetch x"),
    "unloadable": (Unloadable, "x is damaged"),
    "not_finite": (NotFinite, "is not finite"),
    "too_large": (TooLarge, "hardware.batch_size"),
    "not_aggregated": (NotAggregated, "too few images"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_metric_that_fails_costs_no_other_its_score(tmp_path, name):
    kind, message = BROKEN[name]
    run, data = make_run(tmp_path, Pictures()), Pictures()
    metrics = [
        NamedMetric(choice("before"), Brightness()),
        NamedMetric(choice(name), kind()),
        NamedMetric(choice("after"), Brightness()),
    ]
    with pytest.raises(UserError, match=f"metric '{name}': .*{message}.*leave '{name}' out"):
        evaluate_run(run, data, metrics, cache=tmp_path / "cache", batch_size=5)
    assert set(run.scores()) == {"before", "after"}
    again = Brightness()
    evaluate_run(run, data, [NamedMetric(choice("after"), again)], cache=tmp_path / "cache")
    assert again.asked == []


def test_every_failure_is_listed(tmp_path):
    metrics = [NamedMetric(choice(name), kind()) for name, (kind, _) in BROKEN.items()]
    with pytest.raises(UserError) as caught:
        evaluate_run(make_run(tmp_path, Pictures()), Pictures(), metrics, cache=tmp_path / "cache")
    assert len(str(caught.value).splitlines()) == len(BROKEN)


def test_the_check_loads_networks_and_keeps_none():
    metric = build("metrics", "shapes_clip", {})
    assert check_metrics([NamedMetric(choice("shapes_clip"), metric)]) == []
    assert "_recogniser" not in vars(metric)
    (problem,) = check_metrics([NamedMetric(choice("bad"), Unloadable())])
    assert problem == "metric 'bad': x is damaged. Or leave 'bad' out"


PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.mark.parametrize(
    ("metric", "file"),
    [
        ("lpips", "alexnet-owt-7be5be79.pth"),
        ("fid", "inception-2015-12-05.pt"),
        ("fid_legacy", "pt_inception-2015-12-05-6726825d.pth"),
    ],
)
def test_run_finds_a_damaged_weights_file_before_it_makes_images(
    tmp_path, monkeypatch, metric, file
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / file).write_bytes(PAGE)
    results = tmp_path / "results"
    overrides = [*SMALL, f"metrics=[psnr,{metric}]", f"paths.results={results}"]
    outcome = CliRunner().invoke(main, ["run", *overrides], catch_exceptions=False)
    assert outcome.exit_code == 1
    assert f"{file} is damaged" in outcome.output
    assert f"Or leave '{metric}' out" in outcome.output
    assert not RunStore(results).runs()


def test_a_damaged_file_of_clip_is_found_before_images_are_made(tmp_path, monkeypatch):
    page = tmp_path / "clip.pt"
    page.write_bytes(PAGE)
    metric = build("metrics", "clip", {"model": "ViT-B-32", "pretrained": str(page)})
    (problem,) = check_metrics([NamedMetric(choice("clip"), metric)])
    assert "cannot load CLIP ViT-B-32" in problem


def test_a_finished_run_needs_no_metric_weights(tmp_path, monkeypatch):
    overrides = [*SMALL, "metrics=[psnr]", f"paths.results={tmp_path}"]
    assert CliRunner().invoke(main, ["run", *overrides]).exit_code == 0
    monkeypatch.setattr("sde_edit.metrics.psnr.Psnr.fetch", Unfetched.fetch)
    assert CliRunner().invoke(main, ["run", *overrides]).exit_code == 0


@pytest.fixture
def portal():
    """A server that answers everything with the page of a portal."""

    class Portal(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("file", ["weights.pt", "weights-0123abcd.pth"])
def test_a_page_in_place_of_weights_is_refused_and_not_kept(tmp_path, monkeypatch, portal, file):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UserError, match=f"cannot fetch {portal}/{file}"):
        fetch(f"{portal}/{file}")
    assert not (tmp_path / "hub" / "checkpoints" / file).exists()
