"""The studio's server: the page's files, and a socket to the views."""

from __future__ import annotations

import asyncio
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from chainrule.errors import UserError
from chainrule.studio.guard import Guard
from chainrule.studio.wire import MAX_MESSAGE, MessageError, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

STATIC = Path(__file__).parent / "static"


class View(Protocol):
    """What answers a view of the page."""

    def answer(self, content: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]] | None:
        """Answer a message with another; None if it is not understood."""


def create_app(views: dict[str, View], port: int, token: str) -> ASGIApp:
    """The application, inside its guard."""

    def page(request: Request) -> FileResponse:
        return FileResponse(STATIC / "index.html")

    async def talk(connection: WebSocket) -> None:
        await connection.accept()
        try:
            while True:
                await connection.send_bytes(await run_in_threadpool(reply, views, await connection.receive_bytes()))
        except (WebSocketDisconnect, KeyError):  # KeyError: a message of text, which the page never sends
            return

    routes = [
        Route("/", page, methods=["GET"]),
        Mount("/static", StaticFiles(directory=STATIC)),
        WebSocketRoute("/socket", talk),
    ]
    return Guard(Starlette(routes=routes), port, token)


def reply(views: dict[str, View], message: bytes) -> bytes:
    """Answer a message from the page; one that is not understood gets a sentence."""
    try:
        content, buffers = unpack(message)
    except MessageError as error:
        return pack({"error": str(error)})
    name = content.pop("view", None)
    view = views.get(name) if isinstance(name, str) else None
    answer = view.answer(content, buffers) if view else None
    if answer is None:
        return pack({"error": "the studio does not understand this message; is the page of another version?"})
    content, buffers = answer
    return pack({"view": name, **content}, buffers)


def serve(views: dict[str, View], port: int, announce: Callable[[str], None]) -> None:
    """Serve the studio to this machine until Ctrl-C.

    Args:
        views: what answers, by the view's name.
        port: 0 for any free one.
        announce: called with the address, token included, once the server listens.

    Raises:
        UserError: the port cannot be used.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise UserError(f"port {port} cannot be used: {error.strerror or error}; try another --port") from error
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(32)
    config = uvicorn.Config(
        create_app(views, port, token),
        log_level="error",
        ws_max_size=MAX_MESSAGE,
        ws="websockets-sansio",
        lifespan="off",
    )
    server = uvicorn.Server(config)

    async def run() -> None:
        task = asyncio.ensure_future(server.serve(sockets=[listener]))
        while not (server.started or task.done()):
            await asyncio.sleep(0.01)
        announce(f"http://127.0.0.1:{port}/?token={token}")
        await task

    with listener:
        asyncio.run(run())
