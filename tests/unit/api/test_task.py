"""The base class of tasks: what is refused at import."""

import dataclasses

import pytest

from sde_edit.api.example import Drag
from sde_edit.api.task import Task
from sde_edit.datasets.shapes import Shapes


def example(example_id):
    """A scene with a mask, and a drag by one cell of the latent: one drag step."""
    return dataclasses.replace(Shapes().load(example_id), drags=(Drag((24, 28), (32, 28)),))


@pytest.mark.parametrize(
    ("member", "nearest"),
    [
        ({"evaluation_of": lambda self, example, steps, size: 0}, "evaluations_of"),
        ({"sampler": property(lambda self: ("ode",))}, "samplers"),
        ({"share_encoding": True}, "shares_encoding"),
        ({"__annotations__": {"preparation": "ClassVar[tuple[()]]"}}, "preparations"),
    ],
)
def test_a_misspelt_member_is_refused_with_the_nearest_name(member, nearest):
    with pytest.raises(TypeError, match=rf"Mine\..* Did you mean '{nearest}'\?"):
        type("Mine", (Task,), {"citation": None} | member)


def test_helpers_are_private_and_settings_are_free():
    mine = {"citation": None, "__annotations__": {"strength": "float"}, "strength": 1.0}
    type("Mine", (Task,), mine | {"_help": lambda self: 0})
    with pytest.raises(TypeError, match="call it _zigzag"):
        type("Mine", (Task,), {"citation": None, "zigzag": lambda self: 0})


@pytest.mark.parametrize(
    ("capability", "missing"),
    [("shares_encoding", "encoding and edit_from"), ("cost_varies", "evaluations_of")],
)
def test_a_capability_needs_its_methods(capability, missing):
    with pytest.raises(TypeError, match=f"Mine.{capability} needs {missing}"):
        type("Mine", (Task,), {"citation": None, capability: True})


def test_methods_of_a_capability_need_its_declaration():
    member = {"citation": None, "evaluations_of": lambda self, example, steps, size: 0}
    with pytest.raises(TypeError, match="Mine has evaluations_of, so set cost_varies = True"):
        type("Mine", (Task,), member)


def test_a_citation_is_declared():
    with pytest.raises(TypeError, match="declares no citation"):
        type("Mine", (Task,), {})
