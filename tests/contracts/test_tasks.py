"""What every task owes, on a small random model and the embedded scenes."""

import pytest

from sde_edit.contracts.tasks import CHECKS, Subject
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.models.stable_diffusion_xl import StableDiffusionXL
from sde_edit.registry import names
from tests.builders import build_task

OWN_SETTINGS = {  # few steps, so that no example stops early and the plan is what it costs
    "diffedit": {"source_prompt": "a b"},  # another than the target's, or the mask is empty
    "drag": {"lora_steps": 1},
    "null_text": {"null_steps": 2},
    "drag_diffusion": {"drag_steps": 1, "lora_steps": 1},
}


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def model(request, tiny_model, tiny_xl):
    """A small model of each kind whose layers tasks can see and change."""
    xl = request.param == "sdxl"
    source = StableDiffusionXL(str(tiny_xl), 64) if xl else StableDiffusion(str(tiny_model), 64)
    return source.load("cpu", "float64")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", names("task"))
def test_keeps_to(name, check, model):
    own = OWN_SETTINGS.get(name, {})
    check(Subject(build_task(name, **({"prompt": "{caption}"} | own)), model))
