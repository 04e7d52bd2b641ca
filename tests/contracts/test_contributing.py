"""The examples of CONTRIBUTING.md work as they are printed."""

import importlib.util
import re
import sys

import torch

from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from tests.builders import ROOT


def example(heading: str) -> str:
    """The first Python block below a heading."""
    text = (ROOT / "CONTRIBUTING.md").read_text().partition(f"## {heading}\n")[2]
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block, heading
    return block[1]


def test_the_sampler_is_of_second_order(tmp_path, monkeypatch):
    """On dx/dt of a unit Gaussian at a distance, whose exact flow is known: a shift of the mean."""
    file = tmp_path / "heun.py"
    file.write_text(example("Add a sampler"))
    spec = importlib.util.spec_from_file_location("heun", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "heun", module)
    spec.loader.exec_module(module)
    schedule = Schedule.from_betas("linear", 0.0001, 0.02, 1000)
    alpha = torch.tensor(schedule.alpha, dtype=torch.float64)

    def eps(x, t):
        a = alpha[t.long()].view(-1, 1, 1, 1)
        return (1 - a) ** 0.5 * (x - a**0.5 * 3) / (a * 0.25 + 1 - a)  # x_0 ~ N(3, 0.25)

    def error(steps):
        grid = schedule.grid(steps)
        x = torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64)
        a_s, a_t = grid.alpha[0], grid.alpha[-1]
        ratio = ((a_t * 0.25 + 1 - a_t) / (a_s * 0.25 + 1 - a_s)) ** 0.5
        exact = a_t**0.5 * 3 + ratio * (x - a_s**0.5 * 3)
        return float((module.Heun().decode(eps, x, grid, Noise(0, ("a",))) - exact).abs())

    assert error(200) / error(400) > 3  # 4 for second order
