"""What a model owes: eps of each row alone, its count of evaluations, states of the right form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sde_edit.api.model import Model, ModelSource
from sde_edit.contracts.check import BrokenContract, generators_alone, require
from sde_edit.errors import NotFiniteError


@dataclass(frozen=True)
class Subject:
    """A model before and after it is loaded, asked with two prompts at guidance 1.

    hinted: whether it has a control net, which needs hints.
    """

    source: ModelSource
    prompts: tuple[str, str] = ("", "")
    hinted: bool = False

    @cached_property
    def model(self) -> Model:
        """In float64, so that a batch can be compared with its rows."""
        return self.source.load("cpu", "float64")

    def images(self) -> Tensor:
        """Two images of noise, uint8 [2, R, R, 3]."""
        side = self.source.resolution
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (2, side, side, 3), generator=generator, dtype=torch.uint8)

    def state(self) -> Tensor:
        """Two states of noise [2, C, h, w]."""
        generator = torch.Generator().manual_seed(1)
        shape = (2, *self.source.latent_shape)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def eps(self, x: Tensor, times: Sequence[float], rows: Sequence[int] = (0, 1)) -> Tensor:
        """eps of x, whose rows are these of the two."""
        hints = self.images()[list(rows)] if self.hinted else None
        prompts, t = [self.prompts[row] for row in rows], torch.tensor(times, dtype=x.dtype)
        model = self.model  # loaded outside of inference mode: some need gradients of its weights
        with torch.inference_mode():
            return model.denoiser(prompts, 1.0, hints_BHWC=hints)(x, t)


def check_source(subject: Subject) -> None:
    """it says what it is before it is loaded"""
    source = subject.source
    require(bool(source.digest()), "digest is empty")
    alpha = torch.tensor(source.schedule().alpha)
    require(bool((alpha.diff() < 0).all()), "alpha of its schedule does not decrease")
    said, found = tuple(source.latent_shape), tuple(subject.model.latent_shape)
    require(said == found, f"latent_shape is {said} before it is loaded and {found} after")


def check_batch(subject: Subject) -> None:
    """a batch of two is two batches of one, each at its time"""
    x, times = subject.state(), (900.0, 20.0)
    alone = [subject.eps(x[i : i + 1], times[i : i + 1], [i]) for i in (0, 1)]
    same = torch.allclose(subject.eps(x, times), torch.cat(alone), rtol=1e-9, atol=1e-9)
    require(same, "a row of eps depends on the others, or on another row's time")


def check_count(subject: Subject) -> None:
    """it counts its evaluations and calls"""
    model = subject.model
    before = model.evaluations, model.calls
    subject.eps(subject.state(), (5.0, 5.0))
    found = model.evaluations - before[0], model.calls - before[1]
    require(found == (2, 1), f"two rows in one call count as {found[0]} in {found[1]}")


def check_dtype(subject: Subject) -> None:
    """eps keeps the dtype of the state"""
    for dtype in (torch.float32, torch.float64):
        found = subject.eps(subject.state().to(dtype), (5.0, 5.0)).dtype
        require(found == dtype, f"a state of {dtype} gives eps of {found}")


def check_images(subject: Subject) -> None:
    """from images to states and back"""
    images, model = subject.images(), subject.model
    with torch.inference_mode():
        x = model.encode(images)
        back = model.decode(x)
    shape = (2, *subject.model.latent_shape)
    require(tuple(x.shape) == shape, f"encode gives {tuple(x.shape)}, not {shape}")
    form = f"{back.dtype} {list(back.shape)}"
    same = back.dtype == torch.uint8 and back.shape == images.shape
    require(same, f"decode gives {form}, not uint8 {list(images.shape)}")


def check_not_finite(subject: Subject) -> None:
    """decode names the rows that are not finite"""
    x, model = subject.state(), subject.model
    x[1] = torch.nan
    try:
        with torch.inference_mode():
            model.decode(x)
    except NotFiniteError as error:
        require(error.rows == [1], f"it names the rows {error.rows}, not [1]")
    else:
        raise BrokenContract("decode takes a state of NaN")


def check_generators(subject: Subject) -> None:
    """it leaves the global generators alone"""
    x, images, model = subject.state(), subject.images(), subject.model
    with generators_alone(), torch.inference_mode():
        model.decode(model.encode(images))
        subject.eps(x, (5.0, 5.0))


CHECKS = (
    *(check_source, check_batch, check_count, check_dtype, check_images, check_not_finite),
    check_generators,
)
