"""What the benchmark stores, and what a planner finds."""

import json
import subprocess
import sys

import pytest

from sde_edit.bench.result import estimate_seconds, markdown, record_path


def test_efficiency_is_made_of_its_parts(record):
    bare, wall = record["network_seconds_per_evaluation"], record["wall_seconds_per_image"]
    assert bare == min(record["network_seconds_per_evaluation_by_rows"].values())
    best = str(record["network_best_rows"])
    assert bare == record["network_seconds_per_evaluation_by_rows"][best]
    ideal = record["evaluations_per_image"] * bare
    assert record["engine_efficiency"] == pytest.approx(ideal / wall)
    flops = record["gflop_per_evaluation"] / 1000 / bare
    assert record["network_tflops"] == pytest.approx(flops)
    share = flops / record["matmul_peak_tflops"]
    assert record["network_share_of_matmul_peak"] == pytest.approx(share)
    assert record["engine_share_of_matmul_peak"] == pytest.approx(
        share * record["engine_efficiency"]
    )


def test_markdown_names_the_device_and_every_measure(measured):
    text = markdown(measured)
    assert measured.setup.device_name in text
    for measure in ("engine efficiency", "GFLOP", "speedup over diffusers, batched"):
        assert measure in text


def test_leaves_the_record_and_nothing_else(make, measured):
    results = make().settings.results
    file = record_path(results, measured)
    assert json.loads(file.read_text())["model_digest"] == make().spec.model.digest
    assert file.name.startswith("shapes-inpaint-float32-")
    assert not list(results.glob(".bench-*"))
    assert not (results / "runs").exists()


def test_a_planner_finds_the_newest_record_of_the_same_weights_and_dtype(make, measured):
    results = make().settings.results
    seconds, source = estimate_seconds(results, make(), 1000, 64 * 64)
    assert seconds == pytest.approx(1000 * measured.seconds_per_evaluation)
    assert measured.setup.device_name in source
    assert measured.date[:10] in source
    assert estimate_seconds(results, make("dtype=bfloat16"), 1000, 64 * 64) is None
    assert estimate_seconds(results / "elsewhere", make(), 1000, 64 * 64) is None


def test_the_newer_of_two_records_counts(make, tmp_path):
    spec = make().spec
    for name, date, each in (("b", "2026-01-01", 1.0), ("a", "2026-02-01", 2.0)):
        record = {"model_digest": spec.model.digest, "dtype": "float32", "date": date}
        file = tmp_path / "bench" / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        record |= {"seconds_per_evaluation": each, "device_name": "X", "resolution": 64}
        file.write_text(json.dumps(record))
    expected = (6.0, "2 s per evaluation on X, measured 2026-02-01")
    assert estimate_seconds(tmp_path, make(), 3, 64 * 64) == expected
    larger = (9.0, "3 s per evaluation on X, measured 2026-02-01")
    assert estimate_seconds(tmp_path, make(), 3, 64 * 96) == larger


def test_estimates_need_no_torch():
    code = "import sys, sde_edit.bench.result; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
