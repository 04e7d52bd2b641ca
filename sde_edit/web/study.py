"""The pages of a study: consent, guidelines, questions, thanks.

Each rater has a link with a secret part, and is known by nothing else. All state is in the rater's
file of answers, so a server can be killed and started again at any time.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sde_edit.config import results_dir
from sde_edit.study.answers import AnswerFile, Progress, StaleError
from sde_edit.study.plan import Item, Plan, Study
from sde_edit.study.trials import Side, Trial, trials_of
from sde_edit.web.server import TEMPLATES, application, bind

T = TypeVar("T")
Stage = Literal["consent", "question", "thanks"]
_FOREVER = {"cache-control": "private, max-age=31536000, immutable"}


# ------------------------------------------------------------------ what a page gets and sends
@dataclass(frozen=True)
class State:
    """What the page shows. number: of the question, from 0, of `asked`. practice: whether it does
    not count. original, left, right: SHA-256 of images. may_undo: whether the last answer may be
    taken back.
    """

    stage: Stage
    number: int
    asked: int
    practice: bool = False
    words: str = ""
    original: str = ""
    left: str = ""
    right: str = ""
    may_undo: bool = False


@dataclass(frozen=True)
class Given:
    """An answer from a page. seconds: since both images were seen."""

    number: int
    choice: Side
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class TakenBack:
    """The number of the question whose answer is taken back."""

    number: int


_GIVEN, _TAKEN_BACK = TypeAdapter(Given), TypeAdapter(TakenBack)


@dataclass(frozen=True)
class _Rater:
    """A rater's questions and answers."""

    plan: Plan
    file: AnswerFile

    def state(self, progress: Progress) -> State:
        """What is to be shown next."""
        trials, number = self.file.trials, progress.next
        if progress.consent is None:
            return State("consent", number, len(trials))
        if number == len(trials):
            return State("thanks", number, len(trials), may_undo=progress.may_undo)
        return self._question(trials[number], number, progress.may_undo)

    def _question(self, trial: Trial, number: int, may_undo: bool) -> State:
        shown = self.plan.shown
        left, right = (shown[e.item].edits[e.arm] for e in (trial.left, trial.right))
        item: Item = shown[trial.item]
        return State(
            "question", number, len(self.file.trials), trial.kind == "practice", item.words,
            item.original, left, right, may_undo,
        )  # fmt: skip


# ------------------------------------------------------------------ routes
class _Pages:
    """The pages of one study, with the raters that it has now."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.raters: Mapping[str, _Rater] = {
            secret: _Rater(study.plan, _answer_file(study, place, name))
            for place, (name, secret) in enumerate(study.raters.items())
        }

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/", self.front),
            Route("/r/{secret}", self.page),
            Route("/r/{secret}/state", self.state),
            Route("/r/{secret}/agree", self.agree, methods=["POST"]),
            Route("/r/{secret}/answer", self.answer, methods=["POST"]),
            Route("/r/{secret}/undo", self.undo, methods=["POST"]),
            Route("/r/{secret}/answers.jsonl", self.own_file),
            Route("/image/{digest}.png", self.image),
        ]

    def _rater(self, request: Request) -> _Rater:
        found = self.raters.get(request.path_params["secret"])
        if found is None:
            raise HTTPException(404, "No rater has this link. Ask for it again.")
        return found

    def front(self, request: Request) -> Response:
        return TEMPLATES.TemplateResponse(request, "study/front.html")

    def page(self, request: Request) -> Response:
        self._rater(request)
        return TEMPLATES.TemplateResponse(request, "study/rater.html", {"plan": self.study.plan})

    def state(self, request: Request) -> Response:
        rater = self._rater(request)
        return JSONResponse(asdict(rater.state(rater.file.progress())))

    async def agree(self, request: Request) -> Response:
        rater = self._rater(request)
        return await _acted(rater, rater.file.agree)

    async def answer(self, request: Request) -> Response:
        rater, given = self._rater(request), await _sent(request, _GIVEN)
        given_back = partial(rater.file.answer, given.number, given.choice, given.seconds)
        return await _acted(rater, given_back)

    async def undo(self, request: Request) -> Response:
        rater, taken = self._rater(request), await _sent(request, _TAKEN_BACK)
        return await _acted(rater, partial(rater.file.undo, taken.number))

    def own_file(self, request: Request) -> Response:
        """The rater's answers, once all are given."""
        file = self._rater(request).file
        if file.progress().next < len(file.trials):
            raise HTTPException(404, "You can have the file when all questions are answered.")
        return FileResponse(file.path, filename=file.path.name)

    def image(self, request: Request) -> Response:
        found = self.study.images.get(request.path_params["digest"])
        if found is None:
            raise HTTPException(404, "No such image.")
        return FileResponse(found, media_type="image/png", headers=_FOREVER)


def _answer_file(study: Study, place: int, name: str) -> AnswerFile:
    trials = trials_of(study.plan, place)
    return AnswerFile(study.answers_file(name), name, study.plan.digest, trials)


async def _sent(request: Request, adapter: TypeAdapter[T]) -> T:
    """What a page has sent."""
    try:
        return adapter.validate_json(await request.body(), strict=True)
    except ValidationError as error:
        raise HTTPException(400, "This is not what a page here sends.") from error


async def _acted(rater: _Rater, act: Callable[[], Progress]) -> Response:
    """Do it, off the thread that serves the others, and answer with what comes next."""
    try:
        return JSONResponse(asdict(rater.state(await run_in_threadpool(act))))
    except StaleError:
        progress = await run_in_threadpool(rater.file.progress)
        return JSONResponse(asdict(rater.state(progress)), 409)


# ------------------------------------------------------------------ opening
@dataclass(frozen=True)
class Opened:
    """A study that is ready to be served. links: name of a rater -> the address of the pages."""

    app: Starlette
    listening: socket.socket
    links: Mapping[str, str]


def open_study(
    name: str, overrides: Sequence[str], *, raters: int, host: str, port: int, token: str
) -> Opened:
    """Check the plan and its images, and listen.

    raters: at least so many links are made. port 0: any that is free. overrides:
    paths.results=DIR. Raises UserError if there is no such study, if it was changed, and as `bind`.
    """
    study = Study.named(name, results_dir(overrides))
    study.check_images()
    study.add_raters(raters)
    listening, address = bind(host, port, token)
    app = application(_Pages(study).routes(), address)
    links = {who: address.url(f"/r/{secret}") for who, secret in study.raters.items()}
    return Opened(app, listening, links)
