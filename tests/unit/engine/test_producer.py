"""What makes the images of a run: its line on the work, its checks, its costs."""

import pytest
from PIL import Image

from sde_edit.config import experiment
from sde_edit.engine.plan import plan_run
from sde_edit.engine.producer import describe, inspect_missing, producer_of
from sde_edit.errors import UserError
from tests.builders import picture

DATA = ["task=drag", "data=shapes-drags", "data.n=3", "task.lora_steps=0", "metrics=[]"]
FIXED_POINT = ["sampler.fixed_point=3"]
ONE_STEP_IN = ["grid.last_sigma=one_step_in"]


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """An experiment on two external outputs; a third example has none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for i in (0, 2):
        Image.new("RGB", (64, 64)).save(tmp_path / f"test-{i:06d}.png")
    outputs = [f"sampler.outputs={tmp_path}", "sampler.partial=true"]
    return experiment([*DATA, "sampler=external", *outputs])


def network(tiny_model, *overrides):
    return experiment([*DATA, f"model.path={tiny_model}", "steps=4", *overrides])


def cost(*experiments):
    outlooks = inspect_missing([(one, plan_run(one, None)) for one in experiments])
    return [outlook.evaluations for outlook in outlooks]


def test_an_import_costs_nothing_and_names_what_is_missing(imported):
    plan = plan_run(imported, None)
    assert (len(plan.missing), plan.of) == (2, 3)
    assert cost(imported) == [0]
    assert producer_of(imported).notices() == []
    assert describe(imported, plan, 0) == "2 of 2 images to import; 1 examples have none"


def test_an_import_refuses_what_it_cannot_read(imported, tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "test-000002.png")
    with pytest.raises(UserError, match="is 32x32, but example 'test-000002'"):
        cost(imported)


def test_a_network_announces_its_evaluations(tiny_model):
    chosen = network(tiny_model)
    (evaluations,) = cost(chosen)
    line = describe(chosen, plan_run(chosen, None), evaluations)
    assert line.startswith(f"3 of 3 images to make, about {evaluations} network evaluations; ")


def test_iterations_of_an_inversion_count_on_the_way_up_alone(tiny_model):
    (plain,), (more,) = (cost(network(tiny_model, "sampler=ode", *o)) for o in ([], FIXED_POINT))
    assert more == plain // 2 * (1 + 3) + plain // 2


@pytest.mark.parametrize(("t_0", "share"), [("1.0", 3 / 4), ("0.5", 1)])
def test_a_grid_that_ends_one_step_in_costs_a_step_less_if_all_are_taken(tiny_model, t_0, share):
    t_0 = f"task.t_0={t_0}"
    (whole,), (less,) = (cost(network(tiny_model, t_0, *o)) for o in ([], ONE_STEP_IN))
    assert less == share * whole


def test_a_network_refuses_another_resolution(tiny_model):
    with pytest.raises(UserError, match="64x64 pixels, but model=shapes works at 32x32"):
        cost(network(tiny_model, "model.resolution=32"))


def pictures(tiny_model, folder, size, *overrides):
    folder.mkdir(exist_ok=True)
    picture(*size).save(folder / "a.png")
    words = ["task=reconstruct", "task.prompt=''", "data=folder", f"data.images={folder}"]
    return experiment([*words, "metrics=[]", "steps=4", f"model.path={tiny_model}", *overrides])


@pytest.mark.parametrize("size", [(64, 41), (96, 64)])
def test_a_network_takes_pictures_with_one_side_of_its_own(tiny_model, tmp_path, size):
    cost(pictures(tiny_model, tmp_path / "own", size, "data.resolution=null", "data.fit=keep"))
    side = "short" if size[1] == 64 else "long"
    given = ["data.resolution=64", "data.fit=keep", f"data.side={side}"]
    cost(pictures(tiny_model, tmp_path / "own", size, *given))


def test_a_network_refuses_pictures_of_another_scale(tiny_model, tmp_path):
    given = ["data.resolution=200", "data.fit=keep"]
    chosen = pictures(tiny_model, tmp_path / "large", (300, 200), *given)
    with pytest.raises(UserError, match="300x200 pixels, but model=shapes works at 64x64"):
        cost(chosen)


def test_a_model_of_one_size_refuses_any_other(tmp_path):
    picture(16, 12).save(tmp_path / "a.png")
    chosen = experiment(
        [
            *("task=reconstruct", "task.prompt=''", "model=gmm", "data=folder", "metrics=[]"),
            *("task.guidance=1", f"data.images={tmp_path}"),
            *("data.resolution=null", "data.fit=keep", "model.shape=[3,16,16]"),
        ]
    )
    with pytest.raises(UserError, match="16x12 pixels, but model=gmm works at 16x16"):
        cost(chosen)


def test_together_runs_cost_what_they_cost_alone(tiny_model, imported):
    runs = [network(tiny_model, "sampler=ode"), imported, network(tiny_model, "task.m=1")]
    assert cost(*runs) == [each for one in runs for each in cost(one)]


def test_the_largest_t_0_pays_for_the_encoding_of_a_group(tiny_model):
    edits = ["task=diffedit", "data=shapes-edits", "data.limit=2", "sampler=ode", "steps=4"]
    composed = [*edits, "metrics=[]", f"model.path={tiny_model}"]
    low, high = (experiment([*composed, f"task.t_0={t_0}"]) for t_0 in (0.5, 1.0))
    steps, rows, images = 2, 2, 2  # of the lower t_0; of guidance; of the data
    assert cost(low) == [2 * steps * rows * images]
    assert cost(low, high) == [steps * rows * images, *cost(high)]


def test_examples_that_a_metric_cannot_measure_are_named_before_the_network(tiny_model, tmp_path):
    own = ["data.resolution=64", "data.fit=keep", "metrics=[shapes_fid,psnr]"]
    chosen = pictures(tiny_model, tmp_path / "wide", (96, 64), *own)
    said = "metric 'shapes_fid': .* scenes of 64x64 pixels, and example 'a' is 96x64"
    with pytest.raises(UserError, match=said):
        cost(chosen)
    plan = plan_run(chosen, None)
    assert inspect_missing([(chosen, plan)], scored=False)


def test_a_distribution_of_one_image_is_refused_before_the_network(tiny_model):
    one = network(tiny_model, "data.limit=1", "metrics=[psnr,shapes_kid]")
    with pytest.raises(UserError, match=r"metric 'shapes_kid': .*2 or more, and the run has 1\."):
        cost(one)
    assert inspect_missing([(one, plan_run(one, None))], scored=False)
    assert cost(network(tiny_model, "data.limit=2", "metrics=[psnr,shapes_kid]"))


def test_masks_that_leave_no_background_are_refused_before_the_network(tiny_model, tmp_path):
    masks, images = tmp_path / "masks", tmp_path / "images"
    masks.mkdir()
    kept = Image.new("L", (64, 64))
    kept.putpixel((0, 5), 255)  # of the outermost pixels, which belong to the mask
    kept.save(masks / "a.png")
    own = [f"data.mask_root={masks}", "data.hole=black", "data.resolution=64"]
    chosen = pictures(tiny_model, images, (64, 64), *own, "metrics=[background_psnr]")
    said = "metric 'background_psnr': .* the run has 0: the mask of example 'a' leaves no backgr"
    with pytest.raises(UserError, match=said):
        cost(chosen)
    kept.putpixel((5, 5), 255)
    kept.save(masks / "a.png")
    assert cost(chosen)
