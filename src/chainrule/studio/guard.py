"""The guard around the studio's application: it refuses every request that it does not recognize.

A local server is reachable from every page that the browser has open: a page of another site can send requests to
127.0.0.1, and its own host name can be made to resolve to that address (DNS rebinding). So a request must name this
server as its host, a socket must be opened by this server's page, and both must present the token, which is known only
to the person who started the server.
"""

from __future__ import annotations

import hmac
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_URL = 2_000  # bytes
MAX_HEADERS = 16_000  # bytes
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data: blob:; style-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
DENIED = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>chainrule studio</title>"
    "<p>This page belongs to whoever started the studio: open the address that <code>chainrule studio</code> printed."
)


class Guard:
    """Passes a request on if it names this server and presents the token.

    Args:
        app: the application.
        port: the port that the server listens on.
        token: the secret in the address that `chainrule studio` prints. A request with it gets a cookie.
    """

    def __init__(self, app: ASGIApp, port: int, token: str) -> None:
        self.app, self.token = app, token
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        self.cookie = f"chainrule-studio-{port}"  # cookies are shared by all ports of a host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        status, redirect = self.judge(scope)
        if status is HTTPStatus.OK:
            await self.app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: the answer is 403
        else:
            await _refuse(status, redirect, _with_headers(send), scope["method"])

    def judge(self, scope: Scope) -> tuple[HTTPStatus, list[tuple[bytes, bytes]]]:
        """Return OK if a request is to be passed on, otherwise the status and the headers of the response."""
        raw = scope.get("headers", [])
        if scope["type"] not in ("http", "websocket"):
            return HTTPStatus.BAD_REQUEST, []
        if len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"]) > MAX_URL:
            return HTTPStatus.REQUEST_URI_TOO_LONG, []
        if sum(len(name) + len(value) for name, value in raw) > MAX_HEADERS:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, []
        headers: dict[str, list[str]] = {}
        for name, value in raw:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        host = headers.get("host", [])
        if len(host) != 1 or host[0] not in self.hosts:
            return HTTPStatus.MISDIRECTED_REQUEST, []
        own = f"http://{host[0]}"
        if scope["type"] == "websocket":
            fits = headers.get("origin") == [own] and self._has_cookie(headers)
            return (HTTPStatus.OK if fits else HTTPStatus.FORBIDDEN), []
        if scope["method"] not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, [(b"allow", b"GET, HEAD")]
        if headers.get("content-length", ["0"]) != ["0"] or "transfer-encoding" in headers:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, []
        if headers.get("origin", [own]) != [own]:
            return HTTPStatus.FORBIDDEN, []
        if headers.get("sec-fetch-site", ["none"])[0] not in ("none", "same-origin"):  # another site's page asks
            return HTTPStatus.FORBIDDEN, []
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if scope["path"] == "/" and len(tokens) == 1 and self._is_token(tokens[0]):
            cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            return HTTPStatus.SEE_OTHER, [(b"location", b"/"), (b"set-cookie", cookie.encode("latin-1"))]
        return (HTTPStatus.OK if self._has_cookie(headers) else HTTPStatus.FORBIDDEN), []

    def _has_cookie(self, headers: dict[str, list[str]]) -> bool:
        cookies = SimpleCookie()
        try:
            cookies.load("; ".join(headers.get("cookie", [])))
        except CookieError:
            return False
        return self.cookie in cookies and self._is_token(cookies[self.cookie].value)

    def _is_token(self, candidate: str) -> bool:
        return hmac.compare_digest(candidate.encode(), self.token.encode())


def _with_headers(send: Send) -> Send:
    """Return a `send` that adds `HEADERS`, which keep other pages out, to every response."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            others = [(name, value) for name, value in message.get("headers", []) if name.decode() not in HEADERS]
            message["headers"] = [*others, *own]
        await send(message)

    return send_with_headers


async def _refuse(status: HTTPStatus, headers: list[tuple[bytes, bytes]], send: Send, method: str) -> None:
    text = (DENIED if status is HTTPStatus.FORBIDDEN else f"{status} {status.phrase}").encode()
    kind = b"text/html; charset=utf-8" if status is HTTPStatus.FORBIDDEN else b"text/plain; charset=utf-8"
    start: dict[str, Any] = {"type": "http.response.start", "status": int(status)}
    length = (b"content-length", str(len(text)).encode())
    await send({**start, "headers": [*headers, (b"content-type", kind), length]})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else text})
