"""A server for one machine, or for those who hold a token.

It answers only requests that name its own address, by which a page of another site fails that has
its name point here, and changes something only for requests that come from its own pages. Every
answer forbids what is not from here.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from types import FrameType
from urllib.parse import parse_qsl, urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sde_edit.errors import UserError
from sde_edit.web.pages import STATIC, environment

MAX_BODY = 1 << 20  # bytes of a request, unless a server says otherwise
_COOKIE = "sde_edit_token"
_SAFE_METHODS = ("GET", "HEAD")
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


# ------------------------------------------------------------------ where it listens
@dataclass(frozen=True)
class Address:
    """Where a server listens. token: what a request must carry; "" on the own machine."""

    host: str
    port: int
    token: str = ""

    @property
    def authorities(self) -> tuple[str, ...]:
        """What a request may name as its host."""
        names = ("127.0.0.1", "localhost") if self.host == "127.0.0.1" else (self.host,)
        return tuple(f"{f'[{name}]' if ':' in name else name}:{self.port}" for name in names)

    def url(self, path: str = "/") -> str:
        """The address of a page, with the token if there is one."""
        query = f"?{urlencode({'token': self.token})}" if self.token else ""
        return f"http://{self.authorities[0]}{path}{query}"


def bind(host: str, port: int, token: str) -> tuple[socket.socket, Address]:
    """A listening socket and its address. port 0: any that is free.

    Raises UserError for a host that other machines can reach if there is no token, for a host that
    stands for all addresses, and if the port is taken.
    """
    _check_host(host, token)
    try:
        bound = socket.create_server((host, port), family=_family(host))
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]  # what follows is host and port again
        raise UserError(
            f"cannot listen on {host}, port {port}: {reason}. Choose another --port"
        ) from error
    return bound, Address(host, bound.getsockname()[1], token)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _check_host(host: str, token: str) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address and address.is_unspecified:
        raise UserError(
            f"--host {host} stands for every address: give the one that browsers will name, such "
            "as --host 192.168.1.5"
        )
    local = address.is_loopback if address else host == "localhost"
    if not local and len(token) < 16:
        raise UserError(
            f"--host {host} lets other machines in: give a --token of 16 characters or more, which "
            "they must know"
        )


def serve(
    app: ASGIApp, listening: socket.socket, *, ending: Callable[[], None] = lambda: None
) -> None:
    """Answer requests until Ctrl-C.

    ending: is called at Ctrl-C, to end the answers that would last as long as the server.
    """
    config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none")
    with suppress(KeyboardInterrupt), listening:
        _Server(config, ending).run(sockets=[listening])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._ending()
        super().handle_exit(sig, frame)


# ------------------------------------------------------------------ what it answers
TEMPLATES = Jinja2Templates(env=environment())


def application(
    routes: Sequence[BaseRoute], address: Address, *, max_body: int = MAX_BODY
) -> Starlette:
    """The routes, the style sheets under /static, and the checks of every request.

    A UserError that a route raises is answered by its message and status 400.
    max_body: the most bytes that a request may have.
    """
    return Starlette(
        routes=[*routes, Route("/static/{name:path}", _static_file)],
        middleware=[
            Middleware(_SafeHeaders),
            Middleware(_OwnPages, address=address),
            Middleware(_Token, token=address.token),
            Middleware(_Limit, max_body=max_body),
        ],
        exception_handlers={UserError: _user_error},
    )


def _static_file(request: Request) -> Response:
    """One of the files that are there, found by its name and not by its path."""
    found = _static_files().get(request.path_params["name"])
    return FileResponse(found) if found else PlainTextResponse("Not found", 404)


@cache
def _static_files() -> dict[str, Path]:
    return {
        file.relative_to(STATIC).as_posix(): file for file in STATIC.rglob("*") if file.is_file()
    }


async def _user_error(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 400)


class _SafeHeaders:
    """Adds the headers that keep what is foreign out of a page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self.app(scope, receive, with_headers)


class _OwnPages:
    """Refuses requests that name another host, or that come from a page of another origin."""

    def __init__(self, app: ASGIApp, address: Address) -> None:
        self.app = app
        self.hosts = address.authorities

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope) if scope["type"] == "http" else ""
        app = PlainTextResponse(problem, 403) if problem else self.app
        await app(scope, receive, send)

    def _problem(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self.hosts:
            return f"This server is {' or '.join(self.hosts)}. Open it under that address."
        if origin is None and scope["method"] in _SAFE_METHODS:
            return ""
        return "" if origin == f"http://{host}" else "This request does not come from a page here."


class _Token:
    """Refuses requests without the token, which a browser gives once in the address of a page."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope)(scope, receive, send)

    def _answer(self, scope: Scope) -> ASGIApp:
        if scope["type"] != "http" or not self.token or self._is(_cookie(scope)):
            return self.app
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        if not self._is(dict(query).get("token", "")):
            return PlainTextResponse("Open the address that ends in ?token=...", 403)
        rest = urlencode([(key, value) for key, value in query if key != "token"])
        path = "/" + scope["path"].lstrip("/")  # // would begin the name of another host
        answer = RedirectResponse(f"{path}?{rest}".rstrip("?"), 303)
        answer.set_cookie(_COOKIE, self.token, httponly=True, samesite="lax")
        return answer

    def _is(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def _cookie(scope: Scope) -> str:
    try:
        found = SimpleCookie(Headers(scope=scope).get("cookie", "")).get(_COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


class _Limit:
    """Stops reading a request that is too large."""

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        self.app = app
        self.max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.max_body:
                raise HTTPException(413, f"At most {self.max_body:,} bytes can be sent.")
            return message

        await self.app(scope, counted, send)
