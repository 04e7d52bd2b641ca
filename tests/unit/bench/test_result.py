"""What the benchmark stores, and what a planner finds."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from sde_edit.bench.machine import expected_device, present_load
from sde_edit.bench.measure import bench
from sde_edit.bench.result import (
    Device,
    Load,
    comparison,
    estimate_seconds,
    markdown,
    read_benchmark,
    record_path,
    records,
)
from sde_edit.cli import main
from sde_edit.config import experiment
from sde_edit.errors import UserError

CPU = Device("cpu")


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


def test_markdown_names_the_device_and_every_measure(record):
    text = markdown(record)
    assert record["device_name"] in text
    measures = (
        "engine efficiency",
        "GFLOP",
        "speedup over diffusers, batched",
        "rows=4",
    )
    for measure in measures:
        assert measure in text


def test_markdown_gives_median_and_minimum_of_every_side(record):
    ours = record | {"wall_seconds_per_image_passes": [3.0, 1.0, 2.0]}
    ours |= {"wall_seconds_per_image": 2.0, "diffusers_seconds_per_image_passes": [0.25, 0.5]}
    text = markdown(ours)
    assert "| seconds per image | 2 (minimum 1, 3 passes over 3 images) |" in text
    (row,) = [line for line in text.splitlines() if "diffusers, image by image, sec" in line]
    assert "(minimum 0.25, 2 passes over" in row


def test_preparations_have_rows_of_their_own(record):
    text = markdown(record | {"preparation_seconds_per_image": {"lora": 1.5}})
    assert "| lora before, seconds per image | 1.5 |" in text


def test_leaves_the_record_and_nothing_else(make, measured):
    results = make().settings.results
    file = record_path(results, measured)
    assert json.loads(file.read_text())["model_digest"] == make().spec.model.digest
    assert file.name.startswith("shapes-inpaint-float32-")
    assert not list(results.glob(".bench-*"))
    assert not (results / "runs").exists()


def test_a_planner_finds_the_newest_record_of_the_same_weights_and_dtype(make, measured):
    results = make().settings.results
    seconds, source = estimate_seconds(records(results), make(), 1000, 64 * 64, CPU)
    assert seconds == pytest.approx(1000 * measured.seconds_per_evaluation)
    assert measured.setup.device_name in source
    assert measured.date[:10] in source
    assert estimate_seconds(records(results), make("dtype=bfloat16"), 1000, 64 * 64, CPU) is None
    assert estimate_seconds(records(results / "elsewhere"), make(), 1000, 64 * 64, CPU) is None


def test_the_newer_of_two_records_counts(make, tmp_path):
    stored(make, tmp_path, "b", date="2026-01-01", seconds_per_evaluation=1.0)
    stored(make, tmp_path, "a", date="2026-02-01", seconds_per_evaluation=2.0)
    expected = (6.0, "2 s per evaluation on X, measured 2026-02-01")
    assert estimate_seconds(records(tmp_path), make(), 3, 64 * 64, CPU) == expected
    larger = (9.0, "3 s per evaluation on X, measured 2026-02-01")
    assert estimate_seconds(records(tmp_path), make(), 3, 64 * 96, CPU) == larger


def stored(make, folder, name, **own):
    """Stores what older versions did, too, with the values given."""
    record = {"model_digest": make().spec.model.digest, "dtype": "float32", "device_name": "X"}
    record |= {"date": "2026-01-01", "seconds_per_evaluation": 1.0, "resolution": 64}
    file = folder / "bench" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(record | own))
    return file


def test_the_same_device_counts_before_its_kind_and_that_before_others(make, tmp_path):
    def named(device):
        return estimate_seconds(records(tmp_path), make(), 1, 64 * 64, device)[1].split(" on ")[1]

    stored(make, tmp_path, "old")
    assert named(Device("cuda", "H100")) == "X, measured 2026-01-01"
    stored(make, tmp_path, "c", device="cpu", device_name="EPYC", date="2026-03-01")
    stored(make, tmp_path, "a", device="cuda:1", device_name="A100", date="2026-01-03")
    stored(make, tmp_path, "h", device="cuda", device_name="H100", date="2026-01-02")
    assert named(Device("cuda", "H100")) == "H100, measured 2026-01-02"
    assert named(Device("cuda")) == "A100, measured 2026-01-03"
    assert named(Device("cpu", "Xeon")) == "EPYC, measured 2026-03-01"


def test_a_busy_machine_is_named_by_the_estimate(make, tmp_path):
    stored(make, tmp_path, "a", busy=True)
    source = estimate_seconds(records(tmp_path), make(), 1, 64 * 64, CPU)[1]
    assert source.endswith("measured 2026-01-01 on a busy machine")


@pytest.mark.parametrize(("wanted", "on_gpu", "kind"), [
    ("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda:1", False, "cuda"),
])  # fmt: skip
def test_jobs_elsewhere_have_a_kind_of_device_and_no_name(wanted, on_gpu, kind):
    assert expected_device(wanted, on_gpu=on_gpu) == Device(kind)


def test_runs_here_have_the_device_of_benchmarks(record):
    assert expected_device("cpu", on_gpu=None) == Device("cpu", record["device_name"])
    assert expected_device("cuda:99", on_gpu=None) == Device("cuda")


# ------------------------------------------------------------------ other work on the machine
@pytest.mark.parametrize(("average", "busy"), [(0.3, False), (0.6, True), (None, None)])
def test_a_quarter_of_the_cores_is_busy(average, busy):
    assert Load(average, 2).busy is busy


def test_the_load_is_that_before_the_start(make, tmp_path, monkeypatch):
    loads = iter([Load(1.5, 2), Load(9.0, 2)])
    monkeypatch.setattr("sde_edit.bench.measure.present_load", lambda: next(loads))
    measured = bench(make(results=tmp_path), images=1, repeats=1)
    (file,) = (tmp_path / "bench").glob("*.json")
    found = read_benchmark(file)
    assert (found["load_average"], found["usable_cores"], found["busy"]) == (1.5, 2, True)
    assert measured.load.busy
    said = "measured on a busy machine: the load average was 1.50 before the start, on 2 cores"
    assert said in markdown(found)
    assert "busy" not in markdown(found | {"busy": False})


def test_without_load_averages_nothing_is_claimed(monkeypatch, record):
    monkeypatch.delattr("os.getloadavg")
    load = present_load()
    assert load.average is None
    assert load.cores >= 1
    text = markdown(record | {"load_average": None, "busy": None})
    assert "load average before the start | unknown" in text


# ------------------------------------------------------------------ old and new
def test_comparison_has_every_number_that_both_have(record):
    old = record | {"wall_seconds_per_image": 4.0, "engine_efficiency": 0.25}
    del old["peak_memory_bytes"], old["load_average"], old["preparation_seconds_per_image"]
    old |= {"speedup_vs_diffusers": None, "busy": True, "load_average": 8.0}
    new = record | {"wall_seconds_per_image": 6.0, "engine_efficiency": 0.5}
    text = comparison(old, new)
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert rows["seconds per image"].endswith("| 1.5 |")
    assert rows["engine efficiency"] == "| engine efficiency | 25.0% | 50.0% | 2 |"
    assert "seconds per evaluation, bare network, rows=2" in rows
    assert "peak memory" not in rows
    assert "speedup over diffusers, image by image" not in rows
    head = text.splitlines()[0]
    assert head.startswith("old: ")
    assert "busy machine" in head


def test_a_benchmark_of_the_same_setup_can_be_compared(make, measured, record, tmp_path):
    old = read_benchmark(record_path(make().settings.results, measured))
    new = bench(make("sampler=sde2", results=tmp_path), images=1, repeats=1, against=old)
    assert new.setup.task_settings == measured.setup.task_settings
    del old["task_settings"], old["sampler_settings"]  # as older versions
    bench(make("sampler=sde2", results=tmp_path), images=1, repeats=1, against=old)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task=sample"], "task=inpaint instead of sample"),
        (["sampler=ode"], "sampler=sde2 instead of ode"),
        (["steps=3"], "steps=2 instead of 3"),
        (["dtype=bfloat16"], "dtype=float32 instead of bfloat16"),
        (["model=gmm"], "resolution=64 instead of 8"),
        (["task.guidance=3"], "task.guidance=1.0 instead of 3.0"),
    ],
)
def test_another_benchmark_is_refused_before_anything_is_timed(
    make, measured, overrides, said, tmp_path, monkeypatch
):
    monkeypatch.setattr("sde_edit.bench.measure.scoring_memory", pytest.fail)
    old = read_benchmark(record_path(make().settings.results, measured))
    given = ["sampler=sde2", *overrides]
    ours = experiment_of(given, tmp_path) if "model=gmm" in given else make(*given)
    with pytest.raises(UserError, match=said):
        bench(ours, against=old)


def experiment_of(overrides, results):
    return experiment([*overrides, "steps=2", "hardware.device=cpu", f"paths.results={results}"])


def test_a_benchmark_of_another_device_is_refused(make, record):
    with pytest.raises(UserError, match="device_name=H100 instead of"):
        bench(make("sampler=sde2"), against=record | {"device_name": "H100"})


def test_a_file_that_is_no_benchmark_is_named(tmp_path):
    file = tmp_path / "x.json"
    with pytest.raises(UserError, match="no such file"):
        read_benchmark(file)
    file.write_text('{"date": "2026-01-01"}')
    with pytest.raises(UserError, match=r"x\.json: is no benchmark .*<results>/bench"):
        read_benchmark(file)


def test_the_command_line_prints_old_and_new(make, measured, tmp_path):
    file = record_path(make().settings.results, measured)
    overrides = make("sampler=sde2", results=tmp_path).overrides
    command = ["bench", "--images", "1", "--repeats", "1", "--compare", str(file), *overrides]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "| measure | old | new | new / old |" in done.output
    assert "| seconds per image | " in done.output


def test_compare_and_json_exclude_each_other(tmp_path):
    done = CliRunner().invoke(main, ["bench", "--json", "--compare", str(tmp_path / "x.json")])
    assert done.exit_code == 1
    assert "--json and --compare exclude each other" in done.output


def test_estimates_need_no_torch():
    code = "import sys, sde_edit.bench.result; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
