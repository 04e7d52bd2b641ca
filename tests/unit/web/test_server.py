"""The server answers its own pages only, and lets nothing foreign into them."""

from __future__ import annotations

import socket

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from sde_edit.errors import UserError
from sde_edit.web.server import Address, application, bind

HERE = Address("127.0.0.1", 8000)
TOKEN = "0123456789abcdef"
THERE = Address("192.168.1.5", 8000, TOKEN)


def client(address: Address = HERE) -> TestClient:
    async def echo(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    def refuse(request: Request) -> Response:
        raise UserError("no photo: drop one first")

    routes = [Route("/", echo, methods=["GET", "POST"]), Route("/refuse", refuse)]
    app = application(routes, address, max_body=100)
    return TestClient(app, base_url=f"http://{address.authorities[0]}", follow_redirects=False)


def test_own_page_is_answered_with_headers_that_keep_out_what_is_foreign():
    answer = client().get("/")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; base-uri")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:8001", "a.localhost:8000"]
)
def test_another_host_is_refused(host):
    answer = client().get("/", headers={"host": host})
    assert answer.status_code == 403
    assert "Open it under that address" in answer.text


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:8000", ""])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_origin_is_refused(method, origin):
    assert client().request(method, "/", headers={"origin": origin}).status_code == 403


def test_only_a_page_of_its_own_changes_something():
    assert client().post("/", content=b"a").status_code == 403
    own = {"origin": "http://127.0.0.1:8000"}
    assert client().post("/", content=b"a", headers=own).text == "a"


def test_too_large_a_request_is_refused_whether_or_not_it_says_its_size():
    own = {"origin": "http://127.0.0.1:8000"}
    for content in (b"a" * 101, iter([b"a" * 60, b"a" * 60])):
        answer = client().post("/", content=content, headers=own)
        assert answer.status_code == 413
        assert "100 bytes" in answer.text
    assert client().post("/", content=b"a" * 100, headers=own).status_code == 200


@pytest.mark.parametrize(
    "path", ["..%2fserver.py", "%2e%2e%2fserver.py", "/etc/passwd", "%2e%2e", "", "%00", "style"]
)
def test_only_files_of_the_static_folder_are_served(path):
    answer = client().get(f"/static/{path}")
    assert answer.status_code == 404
    assert client().get("/static/style.css").headers["content-type"].startswith("text/css")


def test_an_error_of_the_user_is_answered_by_its_message():
    answer = client().get("/refuse")
    assert (answer.status_code, answer.text) == (400, "no photo: drop one first")


def test_token_is_asked_for_once_and_taken_out_of_the_address():
    browser = client(THERE)
    assert browser.get("/").status_code == 403
    assert browser.get("/?token=0123456789abcdeX").status_code == 403
    answer = browser.get(f"/?a=1&token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?a=1")
    assert browser.get("/").status_code == 200
    assert client(THERE).get("/static/style.css").status_code == 403


def test_redirect_after_the_token_stays_here():
    answer = client(THERE).get(f"http://{THERE.authorities[0]}//evil.example?token={TOKEN}")
    assert answer.headers["location"] == "/evil.example"


def test_other_machines_are_let_in_only_with_a_token():
    with pytest.raises(UserError, match="give a --token of 16 characters"):
        bind("192.168.1.5", 0, "")
    with pytest.raises(UserError, match="give a --token of 16 characters"):
        bind("192.168.1.5", 0, "short")
    with pytest.raises(UserError, match=r"stands for every address.*--host 192\.168\.1\.5"):
        bind("0.0.0.0", 0, TOKEN)


def test_free_port_is_found_and_a_taken_one_named():
    listening, address = bind("127.0.0.1", 0, "")
    with listening:
        assert address.url("/a") == f"http://127.0.0.1:{address.port}/a"
        with pytest.raises(
            UserError, match=rf"port {address.port}: [\w ]+\. Choose another --port"
        ):
            bind("127.0.0.1", address.port, "")
    assert isinstance(listening, socket.socket)
