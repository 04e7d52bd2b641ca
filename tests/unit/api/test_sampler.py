"""What the base class of samplers refuses when a sampler is defined."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from sde_edit.api.citation import Citation
from sde_edit.api.sampler import Sampler

PAPER = Citation("key", "Lovelace, Ada", "Title", "Venue", 2020)


def define(*, base=Sampler, **body):
    """The class of a sampler with this body, as a plug-in file would define it."""
    return type("Heun", (base,), {"citation": PAPER, "order": 2, "decode": decode} | body)


def decode(self, eps, x_BCHW, grid, noise, project=None, inversion=None):
    return x_BCHW


def encode(self, eps, x_BCHW, grid, noise):
    return x_BCHW


@pytest.mark.parametrize(
    ("misspelt", "value", "meant"),
    [
        ("encdoe", encode, "encode"),
        ("decodes", decode, "decode"),
        ("evaluation_per_step", 2, "evaluations_per_step"),
        ("inversions", "exact", "inversion"),
    ],
)
def test_refuses_a_misspelt_name_and_gives_the_nearest(misspelt, value, meant):
    with pytest.raises(TypeError, match=rf"Heun\.{misspelt}: .* Did you mean '{meant}'\?"):
        define(**{misspelt: value})


def test_refuses_a_public_helper():
    with pytest.raises(TypeError, match="call it _xyz"):
        define(xyz=encode)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"encode": encode}, "has an encode, but inversion='none'"),
        ({"inversion": "exact"}, "has no encode, but inversion='exact'"),
        ({"inversion": "exactly", "encode": encode}, "allowed: none, approximate, exact"),
    ],
)
def test_refuses_a_declaration_that_does_not_fit_encode(body, message):
    with pytest.raises(TypeError, match=message):
        define(**body)


def test_refuses_a_sampler_without_citation():
    with pytest.raises(TypeError, match="declares no citation"):
        type("Heun", (Sampler,), {"order": 2, "decode": decode})


def test_takes_settings_under_any_name_and_private_helpers():
    @dataclass(frozen=True)
    class Heun(Sampler):
        churn: float = 0.5
        order: ClassVar[int] = 2
        citation: ClassVar[Citation] = PAPER

        decode = decode

        def _helper(self):
            return self.churn

    assert Heun(churn=0.25)._helper() == 0.25
    assert Heun().evaluations_per_step == 1
    assert not Heun().stochastic


def test_takes_an_encode_that_is_inherited():
    inverting = define(inversion="exact", encode=encode)
    assert define(base=inverting).encode is encode


def test_needs_decode():
    incomplete = type("Heun", (Sampler,), {"citation": PAPER, "order": 2})
    with pytest.raises(TypeError, match="decode"):
        incomplete()
