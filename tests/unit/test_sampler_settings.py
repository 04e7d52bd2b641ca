"""Settings of a sampler that do not fit the task are refused when the experiment is composed."""

import pytest

from sde_edit.config import experiment
from sde_edit.errors import UserError

ENDING = ["sampler=bdia", "sampler.ending=mean"]


@pytest.mark.parametrize("setting", ["inversion_time=end", "fixed_point=2"])
@pytest.mark.parametrize("task", ["inpaint", "sdedit", "sample"])
def test_a_form_of_inversion_is_refused_where_nothing_is_inverted(task: str, setting: str) -> None:
    chosen = ["sampler=ode", f"sampler.{setting}"]
    with pytest.raises(UserError, match=rf"task={task}: .*{setting} is for the way to noise"):
        experiment([f"task={task}", "data=shapes-edits", *chosen])
    assert experiment(["task=reconstruct", *chosen])


def test_bdia_without_an_inverse_is_refused_where_it_inverts() -> None:
    with pytest.raises(UserError, match=r"task=reconstruct: sampler\.gamma=0 is DDIM"):
        experiment(["task=reconstruct", "sampler=bdia", "sampler.gamma=0"])
    assert experiment(["task=inpaint", "sampler=bdia", "sampler.gamma=0"])


@pytest.mark.parametrize(
    ("task", "data"),
    [
        ("p2p", "shapes-edits"),
        ("drag_diffusion", "shapes-drags"),
        ("region_drag", "shapes-drags"),
    ],
)
def test_a_further_update_is_refused_where_the_source_has_no_state(task: str, data: str) -> None:
    with pytest.raises(UserError, match=rf"task={task}: .*ending=mean asks the network once"):
        experiment([f"task={task}", f"data={data}", *ENDING])
    assert experiment([f"task={task}", f"data={data}", "sampler=bdia"])


def test_a_further_update_is_taken_where_the_source_is_not_asked() -> None:
    alone = ["task=drag_diffusion", "task.reference_blocks=0", "data=shapes-drags"]
    assert experiment([*alone, *ENDING])
    assert experiment(["task=drag", "data=shapes-drags", *ENDING])


@pytest.mark.parametrize("sampler", ["rex", "sde_textbook", "ode2"])
def test_a_way_to_noise_that_divides_by_sigma_is_refused_where_sigma_is_0(sampler: str) -> None:
    at_1 = [f"sampler={sampler}", "grid.last_sigma=zero"]
    with pytest.raises(UserError, match=rf"last_sigma=zero .*sampler={sampler} divides by sigma"):
        experiment(["task=reconstruct", *at_1])
    assert experiment(["task=inpaint", *at_1])
    assert experiment(["task=reconstruct", "sampler=sde", "grid.last_sigma=zero"])


@pytest.mark.parametrize(
    ("task", "data"),
    [
        *((t, "shapes-edits") for t in ("inpaint", "sample", "sdedit", "egsde")),
        *((t, "shapes-drags") for t in ("drag", "drag_diffusion", "region_drag")),
    ],
)
def test_the_autoencoder_alone_is_refused_where_it_shows_no_image(task: str, data: str) -> None:
    with pytest.raises(UserError, match=rf"task={task}: sampler=none shows .*autoencoder alone"):
        experiment([f"task={task}", f"data={data}", "sampler=none"])


@pytest.mark.parametrize("task", ["reconstruct", "roundtrip", "ddib", "diffedit", "p2p"])
def test_the_autoencoder_alone_is_the_bound_of_an_edit_by_prompts(task: str) -> None:
    assert experiment([f"task={task}", "data=shapes-edits", "sampler=none"])
