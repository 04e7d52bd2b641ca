"""Loading a pipeline."""

import torch

from sde_edit.models.stable_diffusion import StableDiffusion


def test_compile_compiles_the_network(tiny_model, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda net, dynamic: compiled.append(dynamic) or net)
    StableDiffusion(str(tiny_model), 64).load("cpu", "float32", True)
    StableDiffusion(str(tiny_model), 64).load("cpu", "float32")
    assert compiled == [False]
