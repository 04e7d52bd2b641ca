"""Shapes and dtypes at the edges of plug-ins, checked while the tests run.

Letters: B examples of H x W pixels; states of C channels, h x w; T times; D numbers of an example.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from beartype import beartype
from jaxtyping import Float, Float64, UInt8, jaxtyped
from torch import Tensor

from sde_edit.diffusion.inversion import Inversion
from sde_edit.models.gmm import LoadedGMM
from sde_edit.networks.base import PixelNetwork
from sde_edit.networks.latent_diffusion import LoadedStableDiffusion
from sde_edit.registry import kinds, plugin_class

_checked = jaxtyped(typechecker=beartype)


@_checked
def sampler_decodes(x_BCHW: Float[Tensor, "*BCHW"], result: Float[Tensor, "*BCHW"]) -> None:
    """A state of the same shape and dtype: images, or the points of the theory's toy."""
    assert result.dtype == x_BCHW.dtype


def sampler_encodes(x_BCHW: Tensor, result: Inversion) -> None:
    """States of the same shape at each time; BDIA keeps them in float64."""
    for states in (result.states, *result.extra):
        _along(x_BCHW, states)


@_checked
def _along(x_BCHW: Float[Tensor, "B C h w"], states_TBCHW: Float[Tensor, "T B C h w"]) -> None:
    """One state at each time."""


@_checked
def model_encodes(images_BHWC: UInt8[Tensor, "B H W 3"], result: Float[Tensor, "B C h w"]) -> None:
    """Pixels to states."""


@_checked
def model_decodes(x_BCHW: Float[Tensor, "B C h w"], result: UInt8[Tensor, "B H W 3"]) -> None:
    """States to pixels."""


@_checked
def metric_measures(images_BHWC: UInt8[Tensor, "B H W 3"], result: Float64[Tensor, "B D"]) -> None:
    """Pixels to numbers."""


def _edges() -> Iterator[tuple[type, str, Callable[..., None]]]:
    """Class, method and check of every plug-in's edges."""
    for kind in kinds("samplers"):
        yield plugin_class("samplers", kind), "decode", sampler_decodes
        yield plugin_class("samplers", kind), "encode", sampler_encodes
    for model in (PixelNetwork, LoadedGMM, LoadedStableDiffusion):
        yield model, "encode", model_encodes
        yield model, "decode", model_decodes
    for kind in kinds("metrics"):
        yield plugin_class("metrics", kind), "measure", metric_measures


@contextmanager
def shapes_checked() -> Iterator[None]:
    """While it lasts, calls of plug-ins with other shapes or dtypes raise an error."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, method, check in _edges():
            if hasattr(owner, method):
                patch.setattr(owner, method, watched(getattr(owner, method), check))
        yield


def watched(method: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    """The method, with `check` called on its result and on those arguments that it names."""
    signature = inspect.signature(method)
    names = inspect.signature(check).parameters.keys() - {"result"}

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        given = signature.bind(*args, **kwargs).arguments
        check(**{name: given[name] for name in names}, result=result)
        return result

    return call
