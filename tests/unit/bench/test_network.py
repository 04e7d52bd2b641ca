"""The bare network."""

import pytest
import torch

from sde_edit.bench.measure import bench
from sde_edit.models.stable_diffusion import StableDiffusion


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


def test_memory_that_runs_out_ends_the_rows_and_not_the_benchmark(make, monkeypatch, tmp_path):
    def forward_seconds(engine, rows):
        return None if rows > 2 else 1.0

    monkeypatch.setattr("sde_edit.bench.network._forward_seconds", forward_seconds)
    measured = bench(make(results=tmp_path), images=2, repeats=1)
    assert measured.network.seconds_by_rows == {1: 1.0, 2: 0.5}
    assert measured.network.best_rows == 2
