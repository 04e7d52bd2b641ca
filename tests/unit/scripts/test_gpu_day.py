"""What scripts/gpu_day.* says without a GPU, and the file that it writes of steps."""

import json
import os
import runpy
import shutil
import subprocess

import pytest

from tests.builders import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "gpu_day.py"))
Step, Outcome = SCRIPT["Step"], SCRIPT["Outcome"]

RECORD = {
    **{"model": "sd15", "task": "drag", "sampler": "sde", "steps": 25, "resolution": 512},
    **{"dtype": "bfloat16", "compile": False, "batch_size": 8, "device_name": "H100"},
    **{"threads": 4, "versions": {"torch": "2.14.1"}, "date": "2026-11-26T12:00:00"},
    **{"wall_seconds_per_image": 0.25, "wall_seconds_per_image_passes": [0.5, 0.25, 0.125]},
    **{"wall_seconds_per_image_images": 64, "preparation_seconds_per_image": {"lora": 1.5}},
    **{"engine_efficiency": 0.875, "network_tflops": 321.0, "peak_memory_bytes": 3 * 2**30},
    **{"network_share_of_matmul_peak": 0.5, "speedup_vs_diffusers": 4.0},
    **{"speedup_vs_diffusers_batched": None, "peak_memory_of": "torch.cuda.max_memory_allocated"},
}


def test_without_a_gpu_it_says_so_in_one_line(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "env", "grep", "dirname"):
        (tools / tool).symlink_to(shutil.which(tool))
    out = tmp_path / "out.md"
    command = [str(ROOT / "scripts" / "gpu_day.sh"), str(out)]
    environment = os.environ | {"PATH": str(tools)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr == "gpu_day: there is no GPU: nvidia-smi finds none\n"
    assert done.stdout == ""
    assert not out.exists()


def test_the_table_has_a_row_for_each_benchmark_that_did_not_fail():
    outcomes = [
        Outcome(Step(("a.py",)), 1.0, "ok"),
        Outcome(Step(("b.py",), "drag with LoRA, 8"), 2.0, "", record=RECORD),
        Outcome(Step(("c.py",), "DDIB"), 3.0, "out of memory", "exit code 1"),
    ]
    head, _, *rows = SCRIPT["table"](outcomes).splitlines()
    cells = "0.25 | 0.125 | lora 1.5 | 87.5% | 4.00 | - | 321 | 50.0% | 3.0"
    assert rows == [f"| drag with LoRA, 8 | {cells} |"]
    assert head.count("|") == rows[0].count("|")


def test_the_file_holds_machine_commands_tables_and_failures():
    outcomes = [
        Outcome(Step(("b.py", "x y"), "drag"), 2.0, "", record=RECORD),
        Outcome(Step(("c.py",), "DDIB"), 3.0, "out of memory", "exit code 1"),
    ]
    text = SCRIPT["document"]({"card, driver, memory": "H100, 999.1, 80 GB"}, outcomes)
    assert "- card, driver, memory: H100, 999.1, 80 GB\n" in text
    assert "python b.py 'x y'" in text
    assert "| seconds per image | 0.25 (minimum 0.125, 3 passes over 64 images) |" in text
    assert "- `python c.py`: exit code 1\n" in text
    assert "```\nout of memory\n```" in text


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("print('made')", ""),
        ("import sys; print('broken', file=sys.stderr); sys.exit(3)", "exit code 3"),
    ],
)
def test_a_step_that_fails_is_noted(code, error, tmp_path):
    done = SCRIPT["made"](Step(("-c", code)), tmp_path)
    assert done.error == error
    assert done.output == ("broken" if error else "made")
    assert done.record is None


def test_a_benchmark_is_read_from_what_it_prints(tmp_path):
    done = SCRIPT["made"](Step(("-c", f"print({json.dumps(json.dumps(RECORD))})"), "x"), tmp_path)
    assert done.record == RECORD


def test_a_benchmark_that_prints_none_is_noted_too(tmp_path):
    done = SCRIPT["made"](Step(("-c", "print('no JSON')"), "x"), tmp_path)
    assert "no benchmark" in done.error
    assert done.output == "no JSON"


def test_a_step_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setitem(SCRIPT["made"].__globals__, "LIMIT_S", 1)
    done = SCRIPT["made"](Step(("-c", "import time; time.sleep(60)")), tmp_path)
    assert done.error == "not finished after 1 s"


def test_every_benchmark_is_one_that_can_be_composed(tmp_path, tiny_model, tiny_adm):
    """With small weights in place of the random ones."""
    from sde_edit.bench.synthetic import check_pair
    from sde_edit.config import experiment

    (tmp_path / "sd15").symlink_to(tiny_model)
    (tmp_path / "adm").symlink_to(tiny_adm)
    benchmarks = [step for step in SCRIPT["steps"](tmp_path) if step.label]
    assert len({step.label for step in benchmarks}) == len(benchmarks) == 12
    for step in benchmarks:
        overrides = [word for word in step.command if "=" in word]
        small = {"adm": 16, "sd15": 64}
        model = next(word for word in overrides if word.startswith("model=")).partition("=")[2]
        if model in small:
            overrides.append(f"model.resolution={small[model]}")
        composed = experiment(overrides)
        assert composed.spec.dtype == "bfloat16"
        check_pair(composed)
