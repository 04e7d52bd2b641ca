"""Which devices a run may ask for, and what compiling needs."""

import pytest
import torch

from sde_edit.config import experiment
from sde_edit.engine.attempt import pick_device
from sde_edit.errors import UserError
from sde_edit.networks.base import check_compiler


def settings(device):
    overrides = ["model=gmm", "task=sample", "metrics=[]", f"hardware.device={device}"]
    return experiment(overrides).settings


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:1", "tpu", "AUTO"])
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
    with pytest.raises(UserError, match="none on this machine"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == "cuda:1"
    with pytest.raises(UserError, match="cuda:2: there are 2"):
        pick_device("cuda:2")


@pytest.mark.parametrize(("device", "compiler"), [("cpu", r"g\+\+"), ("cuda", "gcc")])
def test_compiling_without_a_compiler_is_refused(device, compiler, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match=f"compile=true needs a compiler.* no {compiler}"):
        check_compiler(torch.device(device))


def test_a_compiler_that_is_asked_for_must_be_there(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no no-such-compiler"):
        check_compiler(torch.device("cpu"))
