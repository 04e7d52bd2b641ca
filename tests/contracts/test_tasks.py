"""What every task owes, on a small random model and the embedded scenes."""

import pytest

from sde_edit.api.model import DomainFeatures
from sde_edit.contracts.tasks import CHECKS, Subject
from sde_edit.models.classified_diffusion import ClassifiedDiffusion
from sde_edit.models.stable_diffusion_xl import StableDiffusionXL
from sde_edit.registry import names
from tests.builders import build_task

OWN_SETTINGS = {  # few steps, so that no example stops early and the plan is what it costs
    "diffedit": {"source_prompt": "a b"},  # another than the target's, or the mask is empty
    "drag": {"lora_steps": 1},
    "null_text": {"null_steps": 2},
    "drag_diffusion": {"drag_steps": 1, "lora_steps": 1},
}


@pytest.fixture(scope="module", params=["classified", "sdxl"])
def model(request, tiny_model, tiny_classifier, tiny_xl):
    """A small model of each kind whose layers tasks can see and change."""
    if request.param == "sdxl":
        source = StableDiffusionXL(str(tiny_xl), 64)
    else:
        source = ClassifiedDiffusion(str(tiny_model), 64, str(tiny_classifier))
    return source.load("cpu", "float64")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", names("task"))
def test_keeps_to(name, check, model):
    own = OWN_SETTINGS.get(name, {})
    if name == "egsde" and not isinstance(model, DomainFeatures):
        own = {"realism": 0.0}
    check(Subject(build_task(name, **({"prompt": "{caption}"} | own)), model))
