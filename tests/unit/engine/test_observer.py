"""What is told of an edit while it goes on, and how it is ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from sde_edit.api.observer import Observer
from sde_edit.commands.edit import edit_picture, foresee
from sde_edit.engine.execute import ModelCache
from sde_edit.errors import UserError
from sde_edit.imaging.files import read_rgb
from tests.builders import picture

pytestmark = pytest.mark.usefixtures("own_cache")


@dataclass
class Notes(Observer):
    """What an observer was told; it ends the work after so many calls."""

    most: int = 10**6
    rows: list[int] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    reached_images: list[Tensor] = field(default_factory=list)

    def preparing(self, what: str) -> None:
        self.prepared.append(what)

    def evaluated(self, rows: int) -> None:
        self.rows.append(rows)
        if len(self.rows) > self.most:
            raise KeyboardInterrupt

    def reached(self, images: Callable[[], Tensor]) -> None:
        self.reached_images.append(images())


@pytest.fixture
def drag(tmp_path: Path, tiny_model: Path) -> tuple[dict[str, Any], list[str]]:
    """A drag over three cells of the latent: its picture and overrides."""
    picture(64, 64).save(tmp_path / "photo.png")
    photo = {"image": str(tmp_path / "photo.png"), "caption": "a", "drags": [[[8, 32], [32, 32]]]}
    small = [f"model.path={tiny_model}", "model.resolution=64", "dtype=float32", "steps=4"]
    cache = f"paths.cache={tmp_path / 'cache'}"
    return photo, ["task=drag", *small, cache, "hardware.threads=1", "task.lora_steps=0"]


def edited(
    drag: tuple[dict[str, Any], list[str]], out: Path, observer: Observer, *more: str
) -> Any:
    photo, overrides = drag
    edit_picture(
        photo, out=out, force=True, overrides=[*overrides, *more], models=ModelCache(observer)
    )
    return np.asarray(read_rgb(out))


def test_rows_add_up_to_what_was_foreseen(drag, tmp_path):
    notes = Notes()
    edited(drag, tmp_path / "out.png", notes)
    _, (outlook,) = foresee(*drag)
    assert sum(notes.rows) == outlook.evaluations
    assert not notes.prepared


def test_every_drag_step_is_shown_and_the_last_is_the_result(drag, tmp_path):
    notes = Notes()
    result = edited(drag, tmp_path / "out.png", notes)
    assert [tuple(images.shape) for images in notes.reached_images] == [(1, 64, 64, 3)] * 3
    np.testing.assert_array_equal(notes.reached_images[-1][0], result)


def test_who_looks_on_changes_nothing(drag, tmp_path):
    seen = edited(drag, tmp_path / "seen.png", Notes())
    np.testing.assert_array_equal(edited(drag, tmp_path / "unseen.png", Observer()), seen)


def test_preparations_are_told_with_their_end(drag, tmp_path):
    notes = Notes()
    edited(drag, tmp_path / "out.png", notes, "task.lora_steps=2")
    assert notes.prepared == ["LoRA", ""]
    _, (outlook,) = foresee(*drag)
    fit = 2 * 2  # a backpropagation counts as an evaluation
    assert sum(notes.rows) == fit + outlook.evaluations


def test_an_observer_ends_the_work_at_the_next_call(drag, tmp_path):
    notes = Notes(most=3)
    with pytest.raises(UserError, match="interrupted; no result is written"):
        edited(drag, tmp_path / "out.png", notes)
    assert len(notes.rows) == 4
    assert not list(tmp_path.glob("out*"))
