"""Which runs go up to noise together, and who pays for it."""

import pytest

from sde_edit.config import experiment
from sde_edit.engine.shared_encoding import (
    EVERYTHING,
    Share,
    group_by_shared_encoding,
    kept_bytes,
    shares,
)


@pytest.fixture
def composed(small):
    """A function that composes experiments on edits of scenes."""

    def compose(*each, common=("task=diffedit",)):
        given = [*small, "data=shapes-edits", *common]
        return [experiment([*given, *overrides]) for overrides in each]

    return compose


@pytest.fixture
def group(composed):
    """A function that returns the sizes of the groups."""

    def sizes(*each, **given):
        groups = group_by_shared_encoding(composed(*each, **given))
        return [len(members) for members in groups]

    return sizes


def test_runs_that_differ_in_t_0_are_grouped_however_they_were_typed(group, composed):
    default = composed([])[0].task.t_0
    assert group([], ["task.t_0=0.4"]) == [2]
    assert group(["task.t_0=0.4", "seed=0"], ["seed=0", "task.t_0=0.6"]) == [2]
    assert group(["task.t_0=0.4"], ["task.t_0=0.6", "hardware.batch_size=1"]) == [1, 1]
    assert group(["task.t_0=0.4"], ["task.t_0=0.6", "metrics=[]"]) == [1, 1]
    assert group([], [f"task.t_0={default}"]) == [1, 1]  # one run, named twice


def test_what_leaves_the_way_up_alone_may_differ(group):
    up = "task.source_guidance=1.0"
    assert group([up, "task.guidance=2.0"], [up, "task.guidance=3.0"], [up, "task=p2p"]) == [3]
    assert group([up], [up, "task.prompt=red"], [up, "task.mask_level=2.0"]) == [3]


def test_another_way_up_is_another_group(group):
    up = "task.source_guidance=1.0"
    for other in ("task.source_guidance=2.0", "task.source_prompt=red", "steps=3", "sampler=ode"):
        assert group([up], [up, other]) == [1, 1]
    assert group([up], [up, "task.negative_prompt=red"]) == [1, 1]
    assert group(["task=sdedit", "task.t_0=0.4"], ["task=sdedit", "task.t_0=0.6"]) == [1, 1]


@pytest.mark.parametrize(
    ("arm", "again"),
    [
        (["task=roundtrip", "sampler=ode"], Share(up=False, down=False)),
        (["task=p2p", "sampler=bdia"], Share(up=False, down=False)),
        (["task=reconstruct", "sampler=edict"], Share(up=False, down=False)),
        (["task=diffedit", "sampler=ode"], Share(up=False, down=True)),  # its mask needs noise
        (["task=diffedit", "task.region=all", "sampler=ode"], Share(up=False, down=False)),
        (["task=roundtrip", "sampler=sde"], EVERYTHING),
        (["task=sdedit", "sampler=ode"], EVERYTHING),
        (["task=inpaint", "sampler=ode"], EVERYTHING),
        (["task=sample", "sampler=ode"], EVERYTHING),
    ],
)
def test_what_another_seed_costs(arm, again, composed):
    seeds = [[*arm, f"seed={seed}"] for seed in (0, 1, 2)]
    assert shares(composed(*seeds, common=())) == [EVERYTHING, again, again]


def test_the_largest_t_0_pays_for_the_way_up_and_one_seed_for_the_way_down(composed):
    arms = [["task.t_0=0.4"], ["task.t_0=0.8"], ["task.t_0=0.4", "seed=1"], ["seed=1", "steps=2"]]
    ode = composed(*arms, common=("task=roundtrip", "sampler=ode"))
    down, nothing = Share(up=False, down=True), Share(up=False, down=False)
    assert shares(ode) == [down, EVERYTHING, nothing, EVERYTHING]


def test_what_is_kept_of_an_encoding(composed):
    """The states at all times of the way up, and what the sampler reads beside them."""
    (sde,) = composed(["task.t_0=1.0", "steps=10"], common=("task=roundtrip", "sampler=sde"))
    (ode,) = composed(["task.t_0=0.5", "steps=10"], common=("task=roundtrip", "sampler=ode"))
    one = sde.settings.batch_size * 4
    for side in sde.source.latent_shape:
        one *= side
    assert kept_bytes(sde) == (11 + 10) * one
    assert kept_bytes(ode) == 6 * one
