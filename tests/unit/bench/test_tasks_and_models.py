"""Every task with every kind of model is timed, or refused in one line that says why."""

import re
from collections import Counter

import pytest

from sde_edit.bench.engine import TimedEngine
from sde_edit.bench.measure import bench
from sde_edit.bench.network import time_network
from sde_edit.bench.synthetic import on_synthetic_data
from sde_edit.config import experiment, group_file
from sde_edit.editing.contrast_mask import ContrastMask
from sde_edit.editing.lora import LoraFit
from sde_edit.engine.output import Cost
from sde_edit.errors import UserError
from sde_edit.registry import names

STEPS = 2
OWN = {  # settings that keep a task small
    "drag": ["task.lora_steps=1"],
    "drag_diffusion": ["task.lora_steps=1", "task.drag_steps=1"],
    "null_text": ["task.null_steps=1"],
    "diffedit": ["task.mask_maps=2"],
}
ODE_ALONE = {"drag_diffusion", "null_text"}
LAYERS = "whose layers can be seen"
LORA = "has no LoRA"
REFUSED = {  # (task, model) -> why
    **{("drag", model): LORA for model in ("adm", "cifar10", "gmm")},
    **{
        (task, model): LAYERS
        for task in ("drag_diffusion", "null_text", "p2p", "region_drag")
        for model in ("adm", "cifar10", "gmm")
    },
    **{
        (task, "sd15_scribble"): "gives the control net no hint"
        for task in set(names("task")) - {"sample"}
    },
    ("hedit", "adm"): "prompt '' names no class",  # it evaluates the null prompt
    **{
        ("egsde", model): "needs a model with a classifier"
        for model in ("shapes", "sdxl", "cifar10", "gmm")
    },
}


@pytest.fixture
def composed(tiny_model, tiny_xl, tiny_ddpm, tiny_adm, tiny_control, tmp_path):
    """An experiment of two images on the smallest model of a kind."""
    files = {
        "shapes": [f"model.path={tiny_model}"],
        "sd15_scribble": [f"model.path={tiny_model}", f"model.control={tiny_control}"],
        "sdxl": [f"model.path={tiny_xl}", "model.resolution=64"],
        "adm": [f"model.path={tiny_adm}", "model.resolution=16"],
        "cifar10": [f"model.path={tiny_ddpm}", "model.resolution=16"],
        "gmm": [],
    }
    files["sd15_scribble"].append("model.resolution=64")

    def compose(task, model, *overrides):
        given = [f"task={task}", f"model={model}", *files[model], *OWN.get(task, ())]
        if model == "cifar10":
            given += _without_prompts(task)
        if task in ODE_ALONE:
            given.append("sampler=ode")
        common = [f"steps={STEPS}", "dtype=float32", "hardware.device=cpu", "metrics=[]"]
        folder = f"paths.results={tmp_path}"
        return experiment([*given, *common, "hardware.batch_size=2", folder, *overrides])

    return compose


def _without_prompts(task):
    """The overrides with which a task fits an unconditional model."""
    given = group_file("task", task)
    prompts = [f'task.{key}=""' for key in given if key.endswith("prompt") and given[key]]
    guidances = [f"task.{key}=1" for key in given if key in ("guidance", "source_guidance")]
    return [*prompts, *(guidances if task != "null_text" else [])]


@pytest.mark.parametrize("model", ["shapes", "sdxl", "sd15_scribble", "adm", "cifar10", "gmm"])
@pytest.mark.parametrize("task", names("task"))
def test_is_timed_or_refused(task, model, composed, tmp_path):
    if why := REFUSED.get((task, model)):
        with pytest.raises(UserError, match=why) as refusal:
            bench(composed(task, model), images=1, repeats=1)
        message = str(refusal.value)
        assert message.startswith(f"task={task} cannot be timed with model={model}: ")
        assert "\n" not in message
        return
    engine = TimedEngine(on_synthetic_data(composed(task, model), 2, tmp_path))
    engine.warm_up()
    assert engine.timed() > 0
    assert engine.evaluations >= 2
    assert min(time_network(engine).seconds_by_rows) == 1


def test_drag_without_a_lora_needs_none(composed, tmp_path):
    for model in ("cifar10", "gmm"):
        engine = TimedEngine(
            on_synthetic_data(composed("drag", model, "task.lora_steps=0"), 1, tmp_path)
        )
        engine.warm_up()
        assert engine.timed() > 0
        assert not engine.preparations


def test_prompts_that_an_unconditional_model_cannot_take_are_named(composed):
    wrong = composed("ddib", "cifar10", "task.prompt=lion", "task.source_prompt=cat")
    with pytest.raises(UserError, match=re.escape('set task.source_prompt="" task.prompt=""')):
        bench(wrong)


def test_a_mixture_without_images_is_refused(composed):
    shape = ["model.shape=[2,1,1]", "model.components=[{name: a, mean: 0.0, sd: 1.0}]"]
    flat = composed("sample", "gmm", *shape)
    with pytest.raises(UserError, match="no square image"):
        bench(flat)


@pytest.mark.parametrize(("task", "name"), [("drag", "lora"), ("diffedit", "masks")])
def test_a_preparation_is_made_once_for_each_image_and_timed_apart(
    task, name, composed, monkeypatch, tmp_path
):
    made = Counter()
    for kind in (LoraFit, ContrastMask):

        def compute(self, examples, model, grid, noise, plain=kind.compute):
            made.update(example.id for example in examples)
            return plain(self, examples, model, grid, noise)

        monkeypatch.setattr(kind, "compute", compute)
    monkeypatch.setattr("sde_edit.bench.engine.CostMeter", Hundred)
    engine = TimedEngine(on_synthetic_data(composed(task, "shapes"), 3, tmp_path, distinct=3))
    engine.warm_up()
    made.clear()
    assert engine.timed() < 0  # nearly nothing, without the two batches' hundred seconds each
    assert engine.preparations == {name: 200 / 3}
    assert made == dict.fromkeys(engine.ids, 1)
    engine.timed()
    assert made.total() == 3
    assert engine.preparations == {name: 200 / 3}


class Hundred:
    """A CostMeter that finds a hundred seconds in every lap."""

    def __init__(self, model):
        pass

    def lap(self):
        return Cost(100.0, 0, 0)


def test_what_a_preparation_evaluates_is_no_part_of_an_image(composed, tmp_path):
    engines = []
    for lora_steps in (0, 3):
        settings = [f"task.lora_steps={lora_steps}"]
        folder = tmp_path / str(lora_steps)
        engine = TimedEngine(on_synthetic_data(composed("drag", "shapes", *settings), 2, folder))
        engine.timed()
        engines.append(engine)
    plain, fitted = engines
    assert (plain.evaluations, plain.calls) == (fitted.evaluations, fitted.calls)
    assert plain.rows_per_call == fitted.rows_per_call


def test_what_the_model_refuses_is_said_with_task_and_model(composed):
    with pytest.raises(UserError, match="task=drag cannot be timed with model=adm: prompt '' "):
        bench(composed("drag", "adm", "task.lora_steps=0"), images=1, repeats=1)
