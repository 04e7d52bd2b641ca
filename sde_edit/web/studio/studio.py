"""The studio's state: what there is to choose, the edits, and the queue of which one is made."""

from __future__ import annotations

import asyncio
import secrets
import shlex
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from sde_edit.api.override import override
from sde_edit.config import compose_config
from sde_edit.errors import UserError
from sde_edit.overrides import read, refuse_swept
from sde_edit.store.files import write_atomic
from sde_edit.store.processes import cores
from sde_edit.web.studio.jobs import (
    Foresee,
    Foreseen,
    ListSettings,
    Made,
    Make,
    Preview,
    Progressed,
)
from sde_edit.web.studio.shelf import Shelf
from sde_edit.web.studio.wish import SAMPLERS, TASKS, Sampler, Wish
from sde_edit.web.studio.worker import Worker

if TYPE_CHECKING:
    from sde_edit.commands.show import SettingHelp

Status = Literal["waiting", "running", "done", "failed", "cancelled", "interrupted"]
_ON_THE_PAGE = ("task", "sampler", "data", "experiment")  # groups whose choice the page makes


@dataclass(frozen=True)
class Result:
    """A result of an edit: what made it, and its file in the folder of the edit."""

    label: str
    file: str


@dataclass
class Edit:
    """An edit: what was asked for, how far it is, and what came of it.

    made: when it was asked for, in seconds since 1970. mask: its token, or "". evaluations: what it
    costs. seconds: what the network took for these, 0 until it is done.
    """

    id: str
    made: float
    wish: Wish
    model: str
    mask: str
    command: str
    evaluations: int
    status: Status = "waiting"
    problem: str = ""
    seconds: float = 0
    results: list[Result] = field(default_factory=list)

    @property
    def pending(self) -> bool:
        return self.status in ("waiting", "running")


_EDIT = TypeAdapter(Edit)


@dataclass
class Moment:
    """How far a pending edit is: evaluations, a preparation under way, tokens of its previews."""

    done: int = 0
    preparing: str = ""
    previews: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Base:
    """What the command line of the studio says of every edit."""

    overrides: tuple[str, ...]
    model: str
    results: Path


def read_base(overrides: Sequence[str]) -> Base:
    """The overrides of `sde-edit studio`; the embedded model unless they say otherwise.

    Without hardware.threads one core is left for all else. Raises UserError for overrides that
    cannot be composed, and for those that the page decides.
    """
    given = read(overrides)
    refuse_swept(given)
    for one in given:
        if one.key_or_group.split(".")[0] in _ON_THE_PAGE:
            raise UserError(f"{one.input_line}: is chosen on the page, for each edit")
    keys = {one.key_or_group for one in given}
    kept = [str(one.input_line) for one in given if one.key_or_group != "paths.results"]
    if "model" not in keys:
        kept.insert(0, "model=shapes")
    if "hardware.threads" not in keys:
        kept.append(override("hardware.threads", max(1, cores() - 1)))
    config = compose_config(overrides)
    model = compose_config(kept)["model"]["name"]
    return Base(tuple(kept), model, Path(config["paths"]["results"]).resolve())


class Studio:
    """Plans edits in one process and makes them in another, one after the other."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self.shelf = Shelf(base.results / "studio")
        self.edits: dict[str, Edit] = {}
        self._moments: dict[str, Moment] = {}
        self._planner, self._maker = Worker(), Worker()
        self._turn = asyncio.Lock()
        self._settings: dict[tuple[str, Sampler], list[SettingHelp]] = {}
        self._listeners: set[asyncio.Queue[dict[str, Any] | None]] = set()
        self._ended = False
        self._tasks: set[asyncio.Task[None]] = set()
        for file in self.shelf.records():
            self._recall(file)

    def _recall(self, file: Path) -> None:
        """Take an edit of an earlier studio. A file that cannot be read is left alone."""
        try:
            edit = _EDIT.validate_json(file.read_bytes())
        except (OSError, ValidationError):
            return
        if edit.pending:
            edit.status, edit.problem = "interrupted", "The studio was ended before this was done."
        self.edits[edit.id] = edit

    def start(self) -> None:
        """Start the process that plans, which takes seconds to be ready."""
        self._planner.start()

    def end(self) -> None:
        """End the processes and the streams of events. An edit under way stays unfinished."""
        self._ended = True
        for listener in self._listeners:
            listener.put_nowait(None)
        self._planner.end()
        self._maker.end()

    # ------------------------------------------------------------------ before an edit
    async def settings(self, task: str, sampler: Sampler) -> list[SettingHelp]:
        """What can be set of an edit. Raises UserError for a task that the page does not offer."""
        if all(task not in tasks for tasks in TASKS.values()):
            raise UserError(f"the studio has no method {task}")
        if (task, sampler) not in self._settings:
            job = ListSettings(self.base.overrides, task, SAMPLERS[sampler])
            self._settings[task, sampler] = await self._planner.do(job)
        return self._settings[task, sampler]

    async def _overrides(self, wish: Wish) -> list[str]:
        known = await self.settings(wish.task, wish.sampler)
        return wish.overrides(self.base.overrides, {one.key: one.type for one in known})

    async def foresee(self, wish: Wish, mask: str) -> Foreseen:
        """What a wish would do. mask: a PNG in base64, or "".

        Raises UserError if it cannot be made.
        """
        with TemporaryDirectory(prefix="sde-edit-studio-") as folder:
            photo = self.shelf.file(wish.photo)
            kept = await asyncio.to_thread(self.shelf.write_mask, photo, mask, Path(folder))
            return await self._foreseen(wish, photo, kept)

    async def _foreseen(self, wish: Wish, photo: Path, mask: Path | None) -> Foreseen:
        wish.check(masked=mask is not None)
        overrides = await self._overrides(wish)
        return await self._planner.do(Foresee(wish.kind, wish.picture(photo, mask), overrides))

    def seconds(self, evaluations: int) -> float | None:
        """How long so many evaluations will take, as the last edit tells; None if there is none."""
        for edit in reversed(self.edits.values()):
            if edit.status == "done" and edit.model == self.base.model and edit.evaluations:
                return edit.seconds / edit.evaluations * evaluations
        return None

    # ------------------------------------------------------------------ the queue
    async def add(self, wish: Wish, mask: str) -> Edit:
        """Put an edit into the queue. Raises UserError if it cannot be made."""
        edit = await self._edit(wish, mask)
        self.edits[edit.id], self._moments[edit.id] = edit, Moment()
        self._changed(edit)
        task = asyncio.create_task(self._make(edit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return edit

    async def _edit(self, wish: Wish, mask: str) -> Edit:
        photo = self.shelf.file(wish.photo)
        kept = await asyncio.to_thread(self.shelf.write_mask, photo, mask, photo.parent)
        foreseen = await self._foreseen(wish, photo, kept)
        command = wish.command(photo, kept, await self._overrides(wish))
        return Edit(
            id=f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}",
            made=time.time(),
            wish=wish,
            model=self.base.model,
            mask=self.shelf.token(kept) if kept else "",
            command=shlex.join(command),
            evaluations=foreseen.evaluations,
        )

    async def _make(self, edit: Edit) -> None:
        async with self._turn:
            if edit.status == "waiting":
                self._set(edit, "running")
                try:
                    made = await self._maker.do(
                        await self._job(edit), lambda e: self._told(edit, e)
                    )
                except UserError as error:
                    self._failed(edit, str(error))
                else:
                    self._made(edit, made)
        self._changed(edit)

    async def _job(self, edit: Edit) -> Make:
        wish, photo = edit.wish, self.shelf.file(edit.wish.photo)
        mask = self.shelf.file(edit.mask) if edit.mask else None
        overrides = await self._overrides(wish)
        out = self.shelf.edit_folder(edit.id) / "out.png"
        return Make(wish.kind, wish.picture(photo, mask), overrides, out)

    def _told(self, edit: Edit, event: object) -> None:
        moment = self._moments[edit.id]
        if isinstance(event, Progressed):
            moment.done, moment.preparing = event.done, event.preparing
        if isinstance(event, Preview):
            moment.previews.append(self.shelf.keep(event.png))
        self._tell(edit)

    def _made(self, edit: Edit, made: Made) -> None:
        results, edit.seconds = made.files[:-1], made.seconds  # the last is the sheet
        named = zip(edit.wish.samplers, results, strict=True)
        edit.results = [Result(sampler.upper(), file.name) for sampler, file in named]
        self._set(edit, "done")

    def _failed(self, edit: Edit, reason: str) -> None:
        if edit.status == "running" and not self._ended:
            edit.problem = reason
            self._set(edit, "failed")

    def cancel(self, edit: Edit) -> None:
        """End an edit that waits or is under way."""
        running = edit.status == "running"
        if edit.pending:
            self._set(edit, "cancelled")
        if running:
            self._maker.cancel()

    def _set(self, edit: Edit, status: Status) -> None:
        edit.status = status
        self._changed(edit)

    def _changed(self, edit: Edit) -> None:
        """Write the record of an edit, and tell the pages."""
        write_atomic(self.shelf.record(edit.id), _EDIT.dump_json(edit, indent=2))
        for one in self.edits.values():
            if one is edit or one.status == "waiting":  # whose place in the queue changes
                self._tell(one)

    # ------------------------------------------------------------------ what pages see
    def shown(self, edit: Edit) -> dict[str, Any]:
        """An edit as pages see it: files by their tokens, and how far it is."""
        folder, moment = self.shelf.edit_folder(edit.id), self._moments.get(edit.id, Moment())
        waiting = [one.id for one in self.edits.values() if one.pending]
        return {
            **_EDIT.dump_python(edit, mode="json"),
            **asdict(moment),
            "ahead": waiting.index(edit.id) if edit.pending else 0,
            "results": [
                {"label": one.label, "token": self.shelf.token(folder / one.file)}
                for one in edit.results
            ],
        }

    def _tell(self, edit: Edit) -> None:
        for listener in self._listeners:
            listener.put_nowait(self.shown(edit))

    async def listen(self) -> AsyncIterator[dict[str, Any]]:
        """Edits as they change."""
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while change := await queue.get():
                yield change
        finally:
            self._listeners.discard(queue)
