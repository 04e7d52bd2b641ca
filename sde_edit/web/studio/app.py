"""The addresses of the studio."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any

from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sde_edit.datasets.shapes import Shapes
from sde_edit.errors import UserError
from sde_edit.imaging.files import png_bytes
from sde_edit.registry import listing
from sde_edit.web.server import TEMPLATES, Address, application, bind, serve
from sde_edit.web.studio.studio import Edit, Studio, read_base
from sde_edit.web.studio.wish import SAMPLERS, TASKS, read_request

MOST_BYTES = 64 << 20  # of a photo, and of a mask


def serve_studio(
    overrides: Sequence[str],
    *,
    host: str,
    port: int,
    token: str,
    announce: Callable[[str], None],
) -> None:
    """Serve the studio until Ctrl-C. announce: is told its address.

    Raises UserError for overrides that cannot be composed, and as `bind` does.
    """
    state = Studio(read_base(overrides))
    listening, address = bind(host, port, token)
    announce(address.url())
    state.start()
    serve(studio_app(state, address), listening, ending=state.end)


def studio_app(state: Studio, address: Address) -> Starlette:
    """The routes, which know nothing but `state`."""
    own = _Routes(state)
    return application(
        [
            Route("/", own.page),
            Route("/settings/{task}/{sampler}", own.settings),
            Route("/photos", own.add_photo, methods=["POST"]),
            Route("/photos/{token}", own.photo),
            Route("/example", own.example, methods=["POST"]),
            Route("/images/{token}", own.image),
            Route("/plan", own.plan, methods=["POST"]),
            Route("/edits", own.edits),
            Route("/edits", own.add_edit, methods=["POST"]),
            Route("/edits/{id}", own.record),
            Route("/edits/{id}/cancel", own.cancel, methods=["POST"]),
            Route("/events", own.events),
        ],
        address,
        max_body=MOST_BYTES,
    )


class _Routes:
    def __init__(self, state: Studio) -> None:
        self._state = state

    async def page(self, request: Request) -> Response:
        described = listing("task")
        tasks = {kind: {name: described[name] for name in names} for kind, names in TASKS.items()}
        given = {"model": self._state.base.model, "tasks": tasks, "most_bytes": MOST_BYTES}
        return TEMPLATES.TemplateResponse(request, "studio/page.html", given)

    async def settings(self, request: Request) -> Response:
        task, sampler = request.path_params["task"], request.path_params["sampler"]
        if sampler not in SAMPLERS:
            raise UserError(f"the studio has no sampler {sampler}")
        return JSONResponse([asdict(one) for one in await self._state.settings(task, sampler)])

    async def add_photo(self, request: Request) -> Response:
        content = await request.body()
        return await _or_refused(asyncio.to_thread(self._state.shelf.add_photo, content))

    async def photo(self, request: Request) -> Response:
        return JSONResponse(self._state.shelf.photo(request.path_params["token"]))

    async def example(self, request: Request) -> Response:
        """A scene of the embedded model as a photo, and what it shows."""
        return JSONResponse(await asyncio.to_thread(self._a_scene))

    def _a_scene(self) -> dict[str, Any]:
        scenes = Shapes()
        scene = scenes.load(random.choice(scenes.ids()))
        photo = self._state.shelf.add_photo(png_bytes(Image.fromarray(scene.image)))
        return {**photo, "caption": scene.caption}

    async def image(self, request: Request) -> Response:
        token, shelf = request.path_params["token"], self._state.shelf
        if preview := shelf.preview(token):
            return Response(preview, media_type="image/png")
        return FileResponse(shelf.file(token), media_type="image/png")

    async def plan(self, request: Request) -> Response:
        content = await request.body()
        return await _or_refused(self._foreseen(content))

    async def _foreseen(self, content: bytes) -> dict[str, Any]:
        asked = read_request(content)
        foreseen = await self._state.foresee(asked.wish, asked.mask)
        return {**asdict(foreseen), "seconds": self._state.seconds(foreseen.evaluations)}

    async def edits(self, request: Request) -> Response:
        return JSONResponse([self._state.shown(edit) for edit in self._state.edits.values()])

    async def add_edit(self, request: Request) -> Response:
        content = await request.body()
        return await _or_refused(self._added(content))

    async def _added(self, content: bytes) -> dict[str, Any]:
        asked = read_request(content)
        return self._state.shown(await self._state.add(asked.wish, asked.mask))

    async def record(self, request: Request) -> Response:
        edit = self._edit(request)
        name = f"{edit.id}.json"
        return FileResponse(self._state.shelf.record(edit.id), filename=name)

    async def cancel(self, request: Request) -> Response:
        edit = self._edit(request)
        self._state.cancel(edit)
        return JSONResponse(self._state.shown(edit))

    def _edit(self, request: Request) -> Edit:
        if edit := self._state.edits.get(request.path_params["id"]):
            return edit
        raise HTTPException(404, "The studio has no such edit.")

    async def events(self, request: Request) -> Response:
        return StreamingResponse(_lines(self._state.listen()), media_type="text/event-stream")


async def _or_refused(answer: Awaitable[dict[str, Any]]) -> Response:
    """The answer, or the sentence that says why there is none.

    Both have status 200: what one still lacks while one puts an edit together is no error.
    """
    try:
        return JSONResponse(await answer)
    except UserError as error:
        return JSONResponse({"refused": str(error)})


async def _lines(changes: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    """Server-sent events. Their first line lets the browser know at once that it is connected."""
    yield ": connected\n\n"
    async for change in changes:
        yield f"data: {json.dumps(change)}\n\n"
