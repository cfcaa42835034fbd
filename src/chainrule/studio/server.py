"""The studio's server: the page's files, and a socket to the views."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from chainrule import lessons
from chainrule.errors import UserError
from chainrule.studio.guard import Guard
from chainrule.studio.views import MAX_CONCURRENT_MESSAGES
from chainrule.studio.wire import MAX_MESSAGE, MessageError, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from chainrule.studio.views import Views

STATIC = Path(__file__).parent / "static"

GRACE = 3.0
"""Seconds without an open page after which the views are closed: a page that is reloaded is away for a moment."""


def create_app(views: Views, port: int, token: str, lesson: Callable[[str], str | None] = lambda key: None) -> ASGIApp:
    """Return the application, inside its guard.

    Args:
        views: what answers the page.
        port: the port that the server listens on.
        token: the secret in the address that `chainrule studio` prints.
        lesson: returns the address of a lesson's page by the lesson's key; None if the site is not installed.
    """
    pages = _Pages(views)

    def page(request: Request) -> FileResponse:
        return FileResponse(STATIC / "index.html")

    def read(request: Request) -> Response:
        key = request.path_params["key"]
        if key not in {each.key for each in lessons.available()}:
            return PlainTextResponse("There is no such lesson.", 404)
        address = lesson(key)
        if address is None:
            return PlainTextResponse(f"Without the site, read the lesson in a terminal: chainrule lesson {key}")
        return RedirectResponse(address, 303)

    async def talk(connection: WebSocket) -> None:
        await connection.accept()
        slots, sending, tasks = asyncio.Semaphore(MAX_CONCURRENT_MESSAGES), asyncio.Lock(), set[asyncio.Task[None]]()

        async def answer(message: bytes) -> None:
            try:
                text = await run_in_threadpool(reply, views, message)
                async with sending:
                    with suppress(WebSocketDisconnect, RuntimeError):  # the page is closed
                        await connection.send_bytes(text)
            finally:
                slots.release()

        with pages.one():
            try:
                while True:
                    message = await connection.receive_bytes()
                    await slots.acquire()
                    task = asyncio.create_task(answer(message))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            # RuntimeError: an answer found the page closed first; KeyError: a text, which the page never sends
            except (WebSocketDisconnect, RuntimeError, KeyError):
                return

    routes = [
        Route("/", page, methods=["GET"]),
        Route("/lesson/{key}", read, methods=["GET"]),
        Mount("/static", GZipMiddleware(StaticFiles(directory=STATIC))),
        WebSocketRoute("/socket", talk),
    ]
    return Guard(Starlette(routes=routes), port, token)


class _Pages:
    """Counts the open pages; when none has been open for `GRACE` seconds, the views are closed."""

    def __init__(self, views: Views) -> None:
        self.views, self.number, self.visits = views, 0, 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a page as open while the block runs."""
        self.number += 1
        self.visits += 1
        try:
            yield
        finally:
            self.number -= 1
            asyncio.get_running_loop().call_later(GRACE, self._close, self.visits)

    def _close(self, visits: int) -> None:
        if not self.number and visits == self.visits:
            threading.Thread(target=self.views.close).start()  # saving may take a while


def reply(views: Views, message: bytes) -> bytes:
    """Answer a message from the page; errors, and messages that are not understood, are answered with a sentence."""
    try:
        content, buffers = unpack(message)
    except MessageError as error:
        return pack({"error": str(error)})
    names = [name for name in ("view", "visit") if name in content]
    head: dict[str, Any] = {name: content.pop(name) for name in names}  # by these the page assigns the answer
    content, buffers = views.answer(head.get("view"), content, buffers)
    try:
        return pack({**head, **content}, buffers)
    except ValueError as error:  # a number of the answer is not finite
        traceback.print_exc()
        return pack({**head, "error": f"a fault in the studio ({error!r}); its terminal says where"})


def serve(
    views: Views, port: int, announce: Callable[[str], None], lesson: Callable[[str], str | None] = lambda key: None
) -> None:
    """Serve the studio to this machine until Ctrl-C.

    Args:
        views: what answers the page.
        port: 0 for any free one.
        announce: called with the address, token included, once the server listens.
        lesson: returns the address of a lesson's page (see `create_app`).

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
        create_app(views, port, token, lesson),
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
        try:
            asyncio.run(run())
        finally:
            views.close()
