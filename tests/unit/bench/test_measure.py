"""The benchmark's numbers hang together; what it stores, a planner finds. No time is judged."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch

from sde_edit.api.spec import ComponentSpec
from sde_edit.bench.counterpart import DiffusersPipeline
from sde_edit.bench.engine import TimedEngine, on_synthetic_data
from sde_edit.bench.measure import bench
from sde_edit.bench.result import as_json, estimate_seconds, markdown, record_path
from sde_edit.config import experiment
from sde_edit.errors import UserError
from sde_edit.models.stable_diffusion import StableDiffusion

STEPS, IMAGES = 2, 3


@pytest.fixture(scope="module")
def make(tiny_model, tmp_path_factory):
    results = tmp_path_factory.mktemp("results")

    def compose(*overrides):
        return experiment(
            (
                *("model=shapes", f"model.path={tiny_model}", f"paths.results={results}"),
                *(f"steps={STEPS}", "hardware.device=cpu", "hardware.batch_size=2", *overrides),
            )
        )

    return compose


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sde_edit.bench.network.NETWORK_SECONDS", 0.01)
        patch.setattr("sde_edit.bench.network.MATMUL_SECONDS", 0.01)
        patch.setattr("sde_edit.bench.network.MATMUL_SIZES", {"cpu": (64, 128)})
        yield


@pytest.fixture(scope="module")
def measured(make):
    return bench(make("sampler=sde2"), images=IMAGES, repeats=2)


@pytest.fixture(scope="module")
def record(measured):
    return json.loads(json.dumps(as_json(measured), allow_nan=False))


def test_counts_rows_and_calls(record):
    assert record["evaluations_per_image"] == 2 * STEPS
    assert record["rows_per_call"] == 4
    assert record["calls_per_image"] == pytest.approx(2 * STEPS / IMAGES)  # two batches: 2 + 1
    assert record["batch_size"] == 2
    assert list(record["network_seconds_per_evaluation_by_rows"]) == ["1", "2", "4", "8"]


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


def test_every_side_is_timed_as_often_over_the_images_it_names(record):
    for side in ("wall", "diffusers", "diffusers_batched"):
        name = f"{side}_seconds_per_image"
        assert len(record[f"{name}_passes"]) == 2
        assert record[f"{name}_images"] == IMAGES
    for suffix in ("", "_batched"):
        ratio = record[f"diffusers{suffix}_seconds_per_image"] / (record["wall_seconds_per_image"])
        assert record[f"speedup_vs_diffusers{suffix}"] == pytest.approx(ratio)
    assert record["diffusers_reason"] is None


def test_says_what_it_was_made_on(record):
    assert record["peak_memory_of"] == "peak resident set of the process"
    assert record["peak_memory_bytes"] > 2**20
    assert set(record["versions"]) == {"sde-edit", "torch", "diffusers"}
    assert record["threads"] == torch.get_num_threads()
    assert record["device_name"]
    assert record["memory_format"] == "contiguous_format"
    assert record["compile"] is False


def test_flops_are_those_of_layers_and_attention(tiny_model, record):
    """Counted here from shapes alone; torch's counter leaves out attention on a CPU."""
    unet = StableDiffusion(str(tiny_model), 64).load("cpu", "float32").unet
    flops = []

    def layer(module, inputs, output):
        row = module.weight[0].numel()  # multiplications for one number of the output
        flops.append(2 * row * output.numel())

    def attention(module, args, kwargs, output):
        x = kwargs.get("hidden_states", args[0] if args else None)
        text = kwargs.get("encoder_hidden_states")
        tokens = x.shape[1]
        flops.append(4 * tokens * (tokens if text is None else text.shape[1]) * module.inner_dim)

    for module in unet.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            module.register_forward_hook(layer)
        elif type(module).__name__ == "Attention":
            module.register_forward_hook(attention, with_kwargs=True)
    with torch.no_grad():
        unet(torch.zeros(1, 4, 8, 8), torch.full((1,), 5.0), torch.zeros(1, 16, 32))
    assert record["gflop_per_evaluation"] == pytest.approx(sum(flops) / 1e9, rel=1e-12)


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
    assert not list(results.glob("bench-*"))
    assert not (results / "runs").exists()


def test_a_planner_finds_the_newest_record_of_the_same_weights_and_dtype(make, measured):
    results = make().settings.results
    seconds, source = estimate_seconds(results, make(), 1000)
    assert seconds == pytest.approx(1000 * measured.seconds_per_evaluation)
    assert measured.setup.device_name in source
    assert measured.date[:10] in source
    assert estimate_seconds(results, make("dtype=bfloat16"), 1000) is None
    assert estimate_seconds(results / "elsewhere", make(), 1000) is None


def test_the_newer_of_two_records_counts(make, tmp_path):
    spec = make().spec
    for name, date, each in (("b", "2026-01-01", 1.0), ("a", "2026-02-01", 2.0)):
        record = {"model_digest": spec.model.digest, "dtype": "float32", "date": date}
        file = tmp_path / "bench" / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(record | {"seconds_per_evaluation": each, "device_name": "X"}))
    expected = (6.0, "2 s per evaluation on X, measured 2026-02-01")
    assert estimate_seconds(tmp_path, make(), 3) == expected


def test_without_a_counterpart_diffusers_is_null_and_says_why(make):
    ours = make("sampler=sde")
    other = ComponentSpec("mine", "mine", 1)
    ours = dataclasses.replace(ours, spec=dataclasses.replace(ours.spec, sampler=other))
    measured = bench(ours, images=1, repeats=1)
    record = as_json(measured)
    for suffix in ("", "_batched"):
        assert record[f"diffusers{suffix}_seconds_per_image"] is None
        assert record[f"speedup_vs_diffusers{suffix}"] is None
    assert record["diffusers_reason"] == "diffusers has no scheduler for sampler=mine"
    assert "no scheduler for sampler=mine" in markdown(measured)


@pytest.mark.parametrize(
    ("sampler", "guidance"), [("ode", 7.5), ("sde", 7.5), ("ode2", 7.5), ("sde2", 7.5), ("sde", 1)]
)
def test_both_sides_send_as_many_rows_through_the_network(make, tmp_path, sampler, guidance):
    composed = make(f"sampler={sampler}", f"task.guidance={guidance}")
    engine = TimedEngine(on_synthetic_data(composed, IMAGES, tmp_path))
    rows = []
    engine.model.unet.register_forward_hook(lambda net, inputs, output: rows.append(len(inputs[0])))
    engine.timed()
    ours = rows.copy()
    rows.clear()
    DiffusersPipeline(engine, engine.ids, engine.at_once).timed()
    assert rows == ours
    assert sum(ours) == engine.evaluations


def test_memory_that_runs_out_ends_the_rows_and_not_the_benchmark(make, monkeypatch):
    def forward_seconds(engine, rows):
        return None if rows > 2 else 1.0

    monkeypatch.setattr("sde_edit.bench.network._forward_seconds", forward_seconds)
    measured = bench(make(), images=2, repeats=1)
    assert measured.network.seconds_by_rows == {1: 1.0, 2: 0.5}
    assert measured.network.best_rows == 2


@pytest.mark.parametrize("wrong", [{"images": 0}, {"repeats": 0}])
def test_refuses_numbers_below_one(make, wrong):
    with pytest.raises(UserError, match="at least 1"):
        bench(make(), **wrong)


def test_compile_compiles_the_network(tiny_model, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda net, dynamic: compiled.append(dynamic) or net)
    StableDiffusion(str(tiny_model), 64).load("cpu", "float32", True)
    StableDiffusion(str(tiny_model), 64).load("cpu", "float32")
    assert compiled == [False]


def test_estimates_need_no_torch():
    code = "import sys, sde_edit.bench.result; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
