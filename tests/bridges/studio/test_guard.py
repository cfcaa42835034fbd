"""The studio answers its own page alone: requests and handshakes that are forged in one respect each are refused."""

from __future__ import annotations

import base64
import gzip
import http.client
import os
import re
import socket
import threading

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="the studio's libraries are not installed: pip install '.[studio]'")
pytest.importorskip("websockets", reason="the studio's libraries are not installed: pip install '.[studio]'")

from starlette.applications import Starlette  # noqa: E402
from starlette.routing import Mount  # noqa: E402

from chainrule.studio.guard import HEADERS, Guard  # noqa: E402
from chainrule.studio.server import STATIC, create_app  # noqa: E402
from chainrule.studio.views import Views  # noqa: E402
from chainrule.studio.wire import MAX_MESSAGE, pack, unpack  # noqa: E402

TOKEN = "a-token-of-the-tests"  # noqa: S105


class Echo:
    """A view that answers with what it is asked."""

    def answer(self, content, buffers):
        return (content, buffers) if content.get("ask") == "echo" else None

    def close(self):
        """Nothing is open."""


@pytest.fixture(scope="module")
def port():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    number = listener.getsockname()[1]
    config = uvicorn.Config(
        create_app(Views({"echo": Echo}), number, TOKEN),
        log_level="error",
        ws_max_size=MAX_MESSAGE,
        ws="websockets-sansio",
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield number
    server.should_exit = True
    thread.join()
    listener.close()


def good(port):
    return {
        "Host": f"127.0.0.1:{port}",
        "Origin": f"http://127.0.0.1:{port}",
        "Cookie": f"chainrule-studio-{port}={TOKEN}",
    }


def ask(port, method="GET", path="/", headers=None, body=b""):
    """The status, headers and body of an answer; a header of None is left out, a list is sent several times."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in (good(port) | (headers or {})).items():
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    connection.putheader(name, one)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_a_lesson_is_on_the_site_or_in_the_terminal(port):
    status, _, body = ask(port, path="/lesson/backpropagation")
    assert (status, body) == (200, b"Without the site, read the lesson in a terminal: chainrule lesson backpropagation")
    for key in ("none", "..", "%2e%2e%2fpasswd", "backpropagation/"):
        assert ask(port, path=f"/lesson/{key}")[0] in (404, 307), key


def test_the_whole_page_with_all_views_is_small_on_the_way(port):
    total = 0
    for file in STATIC.rglob("*"):
        if file.is_file():
            name = file.relative_to(STATIC).as_posix()
            status, headers, body = ask(port, path=f"/static/{name}", headers={"Accept-Encoding": "gzip"})
            assert status == 200
            assert (gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body) == file.read_bytes()
            total += len(body)
    assert total <= 120_000


def test_the_page_is_small_as_it_is_written():
    """200 KB without comments and types, 250 KB with them; nothing but the vendored file is minified."""
    files = [file for file in STATIC.rglob("*") if file.is_file()]
    own = [file for file in files if file.parent.name != "vendor"]
    assert sum(len(without_comments(file)) for file in own) <= 200 * 1024
    assert sum(file.stat().st_size for file in files) <= 250 * 1024


def without_comments(file):
    """The text of a file without its comments and the lines that then are empty."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".js":  # in the page's code, two slashes behind a blank or at a line's start begin a comment
        text = re.sub(r"/\*\*.*?\*/|(?:^|(?<= ))//.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(line.rstrip() + "\n" for line in text.splitlines() if line.strip()).encode()


def shake_hands(port, headers=None, path="/socket"):
    """The status of a socket's handshake."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
    }
    return ask(port, path=path, headers=upgrade | (headers or {}))[0]


def test_the_pages_own_requests_are_answered(port):
    status, headers, body = ask(port)
    assert status == 200
    assert b"chainrule studio" in body
    for name in ("localhost", "[::1]"):
        assert ask(port, headers={"Host": f"{name}:{port}", "Origin": None})[0] == 200
    for path in ("/static/studio.js", "/static/views/draw.js", "/static/studio.css", "/static/vendor/lit-html.js"):
        status, headers, _ = ask(port, path=path)
        assert status == 200, path
        assert {name: headers[name] for name in HEADERS} == HEADERS
    assert shake_hands(port) == 101


def test_the_token_becomes_a_cookie(port):
    status, headers, _ = ask(port, path=f"/?token={TOKEN}", headers={"Cookie": None, "Origin": None})
    assert (status, headers["location"]) == (303, "/")
    assert headers["set-cookie"] == f"chainrule-studio-{port}={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    status, _, body = ask(port, headers={"Cookie": None})
    assert status == 403
    assert b"open the address that <code>chainrule studio</code> printed" in body


FORGED = {
    "another name (DNS rebinding)": (421, {"headers": {"Host": "evil.example"}}),
    "another name with the port": (421, {"headers": {"Host": "evil.example:PORT"}}),
    "a name that begins like ours": (421, {"headers": {"Host": "localhost.evil.example:PORT"}}),
    "no port": (421, {"headers": {"Host": "127.0.0.1"}}),
    "another port": (421, {"headers": {"Host": "127.0.0.1:80"}}),
    "any address": (421, {"headers": {"Host": "0.0.0.0:PORT"}}),
    "a number as address": (421, {"headers": {"Host": "2130706433:PORT"}}),
    "a user before the name": (421, {"headers": {"Host": "evil@127.0.0.1:PORT"}}),
    "no host": (400, {"headers": {"Host": None}}),
    "two hosts": (400, {"headers": {"Host": ["127.0.0.1:PORT", "evil.example"]}}),
    "another site's page": (403, {"headers": {"Origin": "https://evil.example"}}),
    "no origin to speak of": (403, {"headers": {"Origin": "null"}}),
    "our name over another scheme": (403, {"headers": {"Origin": "https://127.0.0.1:PORT"}}),
    "another port's page": (403, {"headers": {"Origin": "http://127.0.0.1:80"}}),
    "a picture in another site's page": (403, {"headers": {"Origin": None, "Sec-Fetch-Site": "cross-site"}}),
    "a page of another port": (403, {"headers": {"Origin": None, "Sec-Fetch-Site": "same-site"}}),
    "no cookie": (403, {"headers": {"Cookie": None}}),
    "an empty token": (403, {"headers": {"Cookie": "chainrule-studio-PORT="}}),
    "a wrong token": (403, {"headers": {"Cookie": "chainrule-studio-PORT=guess"}}),
    "the token's beginning": (403, {"headers": {"Cookie": f"chainrule-studio-PORT={TOKEN[:-1]}"}}),
    "another port's cookie": (403, {"headers": {"Cookie": f"chainrule-studio-80={TOKEN}"}}),
    "a cookie that is none": (403, {"headers": {"Cookie": '"\\;;=,=[]'}}),
    "a wrong token in the address": (403, {"path": "/?token=guess", "headers": {"Cookie": None}}),
    "two tokens": (403, {"path": f"/?token={TOKEN}&token=guess", "headers": {"Cookie": None}}),
    "the token for a file": (403, {"path": f"/static/studio.js?token={TOKEN}", "headers": {"Cookie": None}}),
    "a form": (405, {"method": "POST"}),
    "a change": (405, {"method": "PUT"}),
    "a deletion": (405, {"method": "DELETE"}),
    "a question before one": (405, {"method": "OPTIONS"}),
    "a body": (413, {"headers": {"Content-Length": "5"}, "body": b"12345"}),
    "an endless body": (413, {"headers": {"Transfer-Encoding": "chunked"}, "body": b"0\r\n\r\n"}),
    "a long address": (414, {"path": "/" + "a" * 3000}),
    "many headers": (431, {"headers": {"X-Padding": "a" * 20_000}}),
    "a file outside": (404, {"path": "/static/../guard.py"}),
    "a file outside, in disguise": (404, {"path": "/static/%2e%2e/guard.py"}),
    "a file by its full path": (404, {"path": "/static//etc/passwd"}),
    "a folder": (404, {"path": "/static/views"}),
    "what there is not": (404, {"path": "/admin"}),
}


def with_port(value, port):
    if isinstance(value, dict):
        return {name: with_port(inner, port) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_port(inner, port) for inner in value]
    return value.replace("PORT", str(port)) if isinstance(value, str) else value


@pytest.mark.parametrize("what", FORGED)
def test_forged_requests_are_refused(port, what):
    status, request = FORGED[what]
    found, headers, body = ask(port, **with_port(request, port))
    assert found == status
    assert TOKEN.encode() not in body
    assert "set-cookie" not in headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": None},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:PORT"},  # the host is 127.0.0.1
        {"Origin": ["http://127.0.0.1:PORT", "http://evil.example"]},
        {"Host": "evil.example:PORT", "Origin": "http://evil.example:PORT"},
        {"Cookie": None},
        {"Cookie": "chainrule-studio-PORT=guess"},
    ],
)
def test_forged_handshakes_are_refused(port, headers):
    assert shake_hands(port, with_port(headers, port)) == (400 if isinstance(headers.get("Origin"), list) else 403)


def test_every_route_is_behind_the_guard(port):
    app = create_app(Views({}), port, TOKEN)
    assert isinstance(app, Guard)
    assert isinstance(app.app, Starlette)
    for route in app.app.routes:
        path = f"{route.path}/studio.js" if isinstance(route, Mount) else route.path.format(key="neurons")
        if path == "/socket":
            assert shake_hands(port, {"Cookie": None}) == 403
        else:
            assert ask(port, path=path)[0] == 200
            assert ask(port, path=path, headers={"Cookie": None})[0] == 403


@pytest.fixture
def talk(port):
    from websockets.sync.client import connect

    headers = {"Cookie": good(port)["Cookie"]}
    with connect(
        f"ws://127.0.0.1:{port}/socket", origin=good(port)["Origin"], additional_headers=headers, max_size=None
    ) as connection:

        def send(message):
            connection.send(message)
            return unpack(connection.recv(timeout=10))

        yield send


def test_messages_and_what_is_none(talk):
    assert talk(pack({"view": "echo", "ask": "echo", "x": 1}, [b"\0\1", b""])) == (
        {"view": "echo", "ask": "echo", "x": 1},
        [b"\0\1", b""],
    )
    for visit in (7, "seven", [7]):  # the page knows by it whose answer it is
        told = talk(pack({"view": "echo", "visit": visit, "ask": "echo"}))[0]
        assert told == {"view": "echo", "visit": visit, "ask": "echo"}
        assert talk(pack({"view": "none", "visit": visit}))[0]["visit"] == visit
    wrong = [
        b"",
        b"\0",
        b"\xff\xff\xff\xff{}",
        pack({})[:-1],
        (5).to_bytes(4, "little") + b"[1,2]",
        (2).to_bytes(4, "little") + b"{}",
        (14).to_bytes(4, "little") + b'{"buffers":-1}',
        (16).to_bytes(4, "little") + b'{"buffers":[-1]}',
        (15).to_bytes(4, "little") + b'{"buffers":[9]}' + b"1",
        (200_000).to_bytes(4, "little") + b"[" * 200_000,
    ]
    for message in wrong:
        content, buffers = talk(message)
        assert content["error"].startswith("a message "), message[:20]
        assert buffers == []
    for content in ({"view": "echo"}, {"view": "none", "ask": "echo"}, {"view": ["echo"], "ask": "echo"}, {"ask": 1}):
        assert "does not understand this message" in talk(pack(content))[0]["error"]
    assert talk(pack({"view": "echo", "ask": "echo"}))[0] == {"view": "echo", "ask": "echo"}  # it still answers


def test_a_message_that_is_too_long_ends_the_connection(talk):
    from websockets.exceptions import ConnectionClosed

    with pytest.raises(ConnectionClosed):
        talk(bytes(MAX_MESSAGE + 1))
