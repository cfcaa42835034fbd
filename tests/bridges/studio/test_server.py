"""The studio's socket: slow answers hold nobody up, faults become sentences, and views learn that the last page has gone."""

from __future__ import annotations

import socket
import threading
import time

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="the studio's libraries are not installed: pip install '.[studio]'")
client = pytest.importorskip(
    "websockets.sync.client", reason="the studio's libraries are not installed: pip install '.[studio]'"
)

from chainrule.errors import UserError  # noqa: E402
from chainrule.studio import server  # noqa: E402
from chainrule.studio.views import Views  # noqa: E402
from chainrule.studio.wire import pack, unpack  # noqa: E402

GRACE = 1.0
TOKEN = "a-token"  # noqa: S105


class Slow:
    """A view that answers when it is let go, and has faults."""

    def __init__(self):
        self.go, self.closed = threading.Event(), threading.Event()

    def answer(self, content, buffers):
        match content["ask"]:
            case "wait":
                assert self.go.wait(20)
            case "user":
                raise UserError("the sentence")
            case "fault":
                raise KeyError("what")
            case "nan":
                return {"value": float("nan")}, []
        return {"tell": content["ask"]}, buffers

    def close(self):
        self.closed.set()


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def connect(slow, monkeypatch):
    monkeypatch.setattr(server, "GRACE", GRACE)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        app = server.create_app(Views({"slow": lambda: slow}), port, TOKEN)
        running = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="websockets-sansio", lifespan="off"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        while not running.started:
            time.sleep(0.01)
        headers = {"Cookie": f"chainrule-studio-{port}={TOKEN}"}
        yield lambda: client.connect(
            f"ws://127.0.0.1:{port}/socket", origin=f"http://127.0.0.1:{port}", additional_headers=headers
        )
        slow.go.set()
        running.should_exit = True
        thread.join()


def ask(page, what, *buffers):
    page.send(pack({"view": "slow", "ask": what}, buffers))


def told(page):
    content, _ = unpack(page.recv(timeout=10))
    return content.get("tell") or content["error"]


def test_a_slow_answer_does_not_hold_up_others(connect, slow):
    with connect() as page, connect() as other:
        for _ in range(3):
            ask(page, "wait")
        ask(page, "quick")
        assert told(page) == "quick"
        ask(other, "also quick")
        assert told(other) == "also quick"
        slow.go.set()
        assert [told(page) for _ in range(3)] == ["wait"] * 3


def test_more_than_eight_at_once_wait(connect, slow):
    with connect() as page:
        for _ in range(8):
            ask(page, "wait")
        ask(page, "ninth")
        with pytest.raises(TimeoutError):
            page.recv(timeout=0.3)
        slow.go.set()
        assert sorted(told(page) for _ in range(9)) == ["ninth", *["wait"] * 8]


def test_faults_are_sentences_and_the_next_question_is_answered(connect, capfd):
    with connect() as page:
        ask(page, "user")
        assert told(page) == "the sentence"
        for fault, what in (("fault", "KeyError('what')"), ("nan", "ValueError('Out of range float values")):
            ask(page, fault)
            assert told(page).startswith(f"a fault in the studio ({what}")
            assert what.partition("(")[0] in capfd.readouterr().err
        ask(page, "quick")
        assert told(page) == "quick"


def test_views_learn_that_the_last_page_has_gone_but_not_of_one_that_is_loaded_again(connect, slow):
    with connect() as page:
        ask(page, "quick")
        told(page)
        with connect():
            pass
        time.sleep(2 * GRACE)
        assert not slow.closed.is_set()  # one is still open
    with connect():  # loaded again within the time of grace
        time.sleep(2 * GRACE)
        assert not slow.closed.is_set()
    assert slow.closed.wait(10)
    with connect() as page:  # and a page that comes later is answered
        ask(page, "quick")
        assert told(page) == "quick"
