"""Loading a pipeline, and compiling its network."""

import numpy as np
import pytest
import torch

import sde_edit as se
from sde_edit.models.stable_diffusion import StableDiffusion


def test_compile_compiles_the_network(tiny_model, monkeypatch):
    compiled = []

    def compile_(net, **settings):
        compiled.append(settings)
        return net

    monkeypatch.setattr(torch, "compile", compile_)
    StableDiffusion(str(tiny_model), 64).load("cpu", "float32", True)
    StableDiffusion(str(tiny_model), 64).load("cpu", "float32")
    assert compiled == [{"dynamic": False, "options": {"freezing": True}}]


@pytest.mark.slow  # compiles a graph for each number of rows
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_compiled_images_are_the_eager_ones(guidance, tmp_path):
    """With a real compiler, up to rounding, which a few steps hardly amplify."""
    shared = ["task=inpaint", "sampler=sde", "steps=5", "data.limit=4", "metrics=[]"]
    both = []
    for compiled in (False, True):
        (run,) = se.run(
            *shared,
            f"task.guidance={guidance}",
            f"hardware.compile={str(compiled).lower()}",
            f"paths.results={tmp_path / str(compiled)}",
        )
        both.append(np.stack(list(run.images)).astype(int))
    difference = np.abs(both[0] - both[1])
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.01
