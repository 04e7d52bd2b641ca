"""The jobs of the studio's processes: what needs torch is imported inside, not by the server.

Boxes are (left, top, width, height), in pixels of the photo.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from sde_edit.api.observer import Observer
from sde_edit.imaging.files import png_bytes, read_size
from sde_edit.web.studio.wish import Kind
from sde_edit.web.studio.worker import Line

if TYPE_CHECKING:
    from torch import Tensor

    from sde_edit.api.experiment import Experiment
    from sde_edit.commands.show import SettingHelp
    from sde_edit.editing.moves import Square
    from sde_edit.engine.execute import ModelCache

Box = tuple[float, float, float, float]
_EVERY_S = 0.1  # between two tellings of the same
_PREVIEW_SIDE = 256
# What the page asks in its own words.
_ASKED = ("task.prompt", "task.source_prompt")
_OF_EVERY_TASK = ("steps", "seed")


# ------------------------------------------------------------------ what there is to set
@dataclass(frozen=True)
class ListSettings:
    """The settings of a task with one sampler, or with two, which share none of their own.

    Their defaults are those that `base`, the overrides of the studio, leaves them.
    """

    base: Sequence[str]
    task: str
    samplers: Sequence[str]

    def do(self, line: Line) -> list[SettingHelp]:
        from sde_edit.commands.show import describe_choice, describe_run

        found = describe_run(_OF_EVERY_TASK, self.base)
        found += describe_choice("task", self.task, self.base).settings
        if len(self.samplers) == 1:
            found += describe_choice("sampler", self.samplers[0]).settings
        return [setting for setting in found if setting.key not in _ASKED]


# ------------------------------------------------------------------ what an edit will do
@dataclass(frozen=True)
class Foreseen:
    """What an edit costs and does.

    r: in cells of the latent. moves: of every drag step, the squares that are copied, each with
    where it goes; [] unless the task is SDE-Drag.
    """

    evaluations: int
    notices: Sequence[str]
    r: int | None
    moves: Sequence[Sequence[tuple[Box, Box]]]


@dataclass(frozen=True)
class Foresee:
    """Check an edit without the network. picture: settings of data=picture."""

    kind: Kind
    picture: Mapping[str, Any]
    overrides: Sequence[str]

    def do(self, line: Line) -> Foreseen:
        from sde_edit.commands.edit import foresee, with_defaults
        from sde_edit.engine.producer import producer_of

        with _heard() as said:
            experiments, outlooks = foresee(self.picture, with_defaults(self.kind, self.overrides))
        own = [notice for one in experiments for notice in producer_of(one).notices()]
        return Foreseen(
            evaluations=sum(outlook.evaluations for outlook in outlooks),
            notices=list(dict.fromkeys([*self._limits(), *said, *own])),
            **_squares(experiments[0]),
        )

    def _limits(self) -> list[str]:
        """A mask left from another kind of edit is easily forgotten."""
        if self.kind == "inpaint" or not self.picture.get("mask"):
            return []
        return ["only the masked part may change: clear the mask to edit the whole picture"]


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Context manager: yields a list that collects the warnings for the user."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("sde_edit")
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)


def _squares(asked: Experiment) -> dict[str, Any]:
    """The fields `r` and `moves` of `Foreseen`."""
    from sde_edit.imaging.fit import extended
    from sde_edit.tasks.drag import DragTask, move_plan

    if not isinstance(asked.task, DragTask):
        return {"r": None, "moves": []}
    example = asked.dataset.load(asked.dataset.ids()[0])
    _, *native = asked.source.latent_shape
    size = asked.source.latent_size(*example.image.shape[:2])
    whole, plan = extended(example, asked.source.factor or 1), move_plan(asked.task)
    cells = _Cells.of(asked, example.image.shape, whole.image.shape, size)
    steps = plan.steps(whole, size, (native[0], native[1]))
    moves = [[(cells.box(move.S), cells.box(move.T)) for move in step] for step in steps]
    return {"r": plan.radius(min(native)), "moves": moves}


@dataclass(frozen=True)
class _Cells:
    """Where the cells of a latent lie in the photo."""

    left: int
    top: int
    width: float  # of a cell
    height: float

    @classmethod
    def of(
        cls,
        asked: Experiment,
        edited: tuple[int, ...],
        whole: tuple[int, ...],
        size: tuple[int, int],
    ) -> _Cells:
        """edited, whole: shapes of the picture as it is edited, without and with its repeated
        border. size: (h, w) of the latent."""
        from sde_edit.datasets.picture import Picture

        assert isinstance(asked.dataset, Picture)
        height, width = asked.dataset.photo().image.shape[:2]
        file = read_size(Path(asked.dataset.image))
        return cls(
            left=(file[0] - width) // 2,
            top=(file[1] - height) // 2,
            width=whole[1] / size[1] * width / edited[1],
            height=whole[0] / size[0] * height / edited[0],
        )

    def box(self, square: Square) -> Box:
        rows, columns = square
        return (
            self.left + columns.start * self.width,
            self.top + rows.start * self.height,
            (columns.stop - columns.start) * self.width,
            (rows.stop - rows.start) * self.height,
        )


# ------------------------------------------------------------------ the edit itself
@dataclass(frozen=True)
class Progressed:
    """How far an edit is. done: evaluations; preparing: a preparation that is under way, or ""."""

    done: int
    preparing: str


@dataclass(frozen=True)
class Preview:
    """A PNG of what a drag step has reached."""

    png: bytes


@dataclass(frozen=True)
class Made:
    """The files of an edit, its sheet the last. seconds: without loading and preparations."""

    files: Sequence[Path]
    evaluations: int
    seconds: float


@dataclass(frozen=True)
class Make:
    """Edit a photo, as `sde-edit edit <kind>` does, and tell how far it is."""

    kind: Kind
    picture: Mapping[str, Any]
    overrides: Sequence[str]
    out: Path

    def do(self, line: Line) -> Made:
        from sde_edit.commands.edit import edit_picture, with_defaults

        watch, models = _at_hand(line)
        watch.begin()
        files = edit_picture(
            self.picture,
            out=self.out,
            force=True,
            overrides=with_defaults(self.kind, self.overrides),
            models=models,
        )
        return Made(files, watch.done, watch.seconds)


def _at_hand(line: Line) -> tuple[Watch, ModelCache]:
    """The watch and the models that earlier jobs of this process have left."""
    from sde_edit.engine.execute import ModelCache

    if "models" not in line.kept:
        watch = Watch(line)
        line.kept["models"] = watch, ModelCache(watch)
    found: tuple[Watch, ModelCache] = line.kept["models"]
    return found


@dataclass
class Watch(Observer):
    """Tells the server how far an edit is, and ends it if it is cancelled."""

    line: Line
    done: int = 0
    seconds: float = 0
    _preparing: str = ""
    _last: float | None = None  # when something was evaluated
    _told: float = 0

    def begin(self) -> None:
        self.done, self.seconds, self._preparing, self._last = 0, 0.0, "", None

    def preparing(self, what: str) -> None:
        self._preparing, self._last = what, time.perf_counter()
        self.line.tell(Progressed(self.done, what))

    def evaluated(self, rows: int) -> None:
        self.line.check()
        now = time.perf_counter()
        if not self._preparing:
            self.done += rows
            self.seconds += now - (self._last or now)
        self._last = now
        if now - self._told >= _EVERY_S:
            self._told = now
            self.line.tell(Progressed(self.done, self._preparing))

    def reached(self, images: Callable[[], Tensor]) -> None:
        picture = Image.fromarray(images()[0].numpy())
        picture.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
        self.line.tell(Preview(png_bytes(picture)))
