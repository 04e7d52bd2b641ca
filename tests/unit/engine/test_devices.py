"""Which devices a run may ask for, and what compiling needs."""

import os
import shutil

import pytest
import torch

from sde_edit.commands.run import run_all
from sde_edit.config import experiment
from sde_edit.engine.attempt import pick_device
from sde_edit.engine.execute import ModelCache
from sde_edit.errors import UserError
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.networks.base import check_compiler
from sde_edit.store.runs import RunStore


def settings(device):
    overrides = ["model=gmm", "task=sample", "metrics=[]", f"hardware.device={device}"]
    return experiment(overrides).settings


@pytest.mark.parametrize(
    "device",
    [
        "gpu",
        "cuda:",
        "cuda:x",
        "cuda:-1",
        "cuda:01",
        "cuda:\u0663",
        "cuda 1",
        "cpu:1",
        "tpu",
        "AUTO",
    ],
)
def test_an_unknown_device_is_refused_with_those_that_are_known(device):
    with pytest.raises(UserError, match=r"hardware\.device=.*: use auto, cuda, cuda:1 or cpu"):
        settings(f"'{device}'")


def test_mps_is_refused_because_it_lacks_float64():
    with pytest.raises(UserError, match=r"mps is not supported.*float64.*hardware\.device=cpu"):
        settings("mps")


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "'cuda:3'"])
def test_a_device_that_another_machine_may_have_is_accepted(device):
    assert settings(device).device == device.strip("'")


def test_auto_is_never_mps(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == "cpu"


def test_a_device_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="cuda: this machine has no GPU; use cpu or auto"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == "cuda:1"
    for far in ("cuda:2", "cuda:99"):
        with pytest.raises(UserError, match=f"{far}: this machine has cuda:0, cuda:1; use cuda:0"):
            pick_device(far)


@pytest.mark.parametrize(("device", "compiler"), [("cpu", r"g\+\+"), ("cuda", "gcc")])
def test_compiling_without_a_compiler_is_refused(device, compiler, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match=f"compile=true needs a compiler.* no {compiler}"):
        check_compiler(torch.device(device))


def test_a_compiler_is_looked_for_before_weights_are_loaded(monkeypatch, tmp_path):
    asked = ["task=sample", "metrics=[]", "data.limit=1", f"paths.results={tmp_path}"]
    compiled = experiment([*asked, "hardware.compile=true"])
    monkeypatch.setattr(shutil, "which", lambda program: None)
    monkeypatch.setattr(StableDiffusion, "load", lambda *_: pytest.fail("weights are loaded"))
    for work in (lambda: run_all([compiled]), lambda: ModelCache().get(compiled, "cpu")):
        with pytest.raises(UserError, match=r"compile=true needs a compiler"):
            work()
    assert not RunStore(tmp_path).runs()


def test_compiled_code_is_kept_in_the_cache_unless_a_place_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    asked = [
        f"paths.results={tmp_path}",
        "hardware.compile=true",
        "metrics=[]",
    ]
    for given, kept in ((None, str(tmp_path / "cache" / "compiled")), ("elsewhere", "elsewhere")):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", given or "")  # to be restored afterwards
        if not given:
            monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
        ModelCache().get(experiment(asked), "cpu")
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == kept


def test_a_compiler_that_is_asked_for_must_be_there(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no no-such-compiler"):
        check_compiler(torch.device("cpu"))


def test_a_device_convolves_float32_in_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    pick_device("cpu")
    assert torch.backends.cudnn.allow_tf32 is False
