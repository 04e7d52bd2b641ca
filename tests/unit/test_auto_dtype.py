"""dtype=auto follows the device, and the run id holds the dtype that it stands for."""

import pytest
import torch

from sde_edit.api.experiment import Experiment
from sde_edit.commands import check, sweep
from sde_edit.commands.check import check_runs
from sde_edit.commands.sweep import Finish, plan_sweep
from sde_edit.config import experiment, group_file, parsed
from sde_edit.engine.plan import Plan
from sde_edit.errors import UserError
from sde_edit.registry import names
from sde_edit.store.runs import run_id

GMM = ["model=gmm", "task=sample", "metrics=[]", "data.limit=2"]
AUTO = [*GMM, "model.dtype=auto"]


def dtype(*overrides, **options):
    return experiment([*AUTO, *overrides], **options).spec.dtype


def test_auto_is_half_on_a_gpu_and_single_on_a_cpu():
    assert dtype("hardware.device=cpu") == "float32"
    assert dtype("hardware.device=cuda") == "float16"
    assert dtype("hardware.device=cpu", on_gpu=True) == "float32"
    assert dtype(on_gpu=True) == "float16"
    assert dtype(on_gpu=False) == "float32"


@pytest.mark.parametrize(("there", "expected"), [(True, "float16"), (False, "float32")])
def test_the_device_auto_is_asked_of_the_machine(there, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert dtype() == expected


@pytest.mark.parametrize("given", [["model.dtype=auto"], ["dtype=auto"], ["dtype=auto", "seed=1"]])
def test_the_overrides_of_an_experiment_give_the_same_run_on_any_machine(given):
    made = experiment([*GMM, *given], on_gpu=True)
    again = experiment(made.overrides, on_gpu=False)
    assert run_id(made.spec) == run_id(again.spec)
    assert again.overrides == made.overrides
    assert made.overrides[-1] == "dtype=float16"


def test_a_dtype_that_is_given_stays():
    chosen = experiment([*AUTO, "dtype=bf16"], on_gpu=True)
    assert chosen.spec.dtype == "bfloat16"
    assert chosen.overrides == (*AUTO, "dtype=bf16")


@pytest.mark.parametrize(("gpus", "expected"), [(1, "float16"), (0, "float32")])
def test_a_sweep_on_slurm_decides_by_the_gpus_of_its_tasks(gpus, expected, tmp_path):
    asked = [*AUTO, "model.shape=[3,64,64]", f"paths.results={tmp_path}"]
    planned = plan_sweep([*asked, "launcher=slurm", f"launcher.gpus={gpus}"])
    assert [e.spec.dtype for e in planned.experiments] == [expected]
    overrides = [one for job in planned.jobs for one in job.overrides]
    assert all(f"dtype={expected}" in one for one in overrides)


@pytest.mark.parametrize(("device", "expected"), [("cpu", "float32"), ("cuda", "float16")])
def test_the_finish_of_a_sweep_on_slurm_keeps_its_dtype(device, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    asked = (*AUTO, "launcher=slurm", f"hardware.device={device}", f"paths.results={tmp_path}")
    planned = plan_sweep(asked).experiments
    finishing: list[Experiment] = []
    monkeypatch.setattr(sweep, "run_all", finishing.extend)
    monkeypatch.setattr(sweep, "plan_run", lambda e, _: Plan(e.dataset.ids(), 2, (), frozenset()))
    Finish(asked)()
    assert [e.spec.dtype for e in finishing] == [expected]
    assert [e.spec for e in finishing] == [e.spec for e in planned]
    assert [e.settings.device for e in finishing] == ["auto"]


def test_check_takes_the_dtype_of_the_jobs(monkeypatch):
    seen: list[Experiment] = []

    def no_trial(experiments, _problems):
        seen.extend(experiments)
        return []

    monkeypatch.setattr(check, "_try_all", no_trial)
    check_runs([*AUTO, "launcher=slurm", "launcher.gpus=1"])
    assert [e.spec.dtype for e in seen] == ["float16"]


def test_half_precision_is_no_models_default():
    assert {group_file("model", name)["dtype"] for name in names("model")} == {"auto", "float32"}


def test_a_filter_of_runs_takes_no_auto():
    with pytest.raises(UserError, match="dtype='auto'"):
        parsed(["dtype=auto"])
