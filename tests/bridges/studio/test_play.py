"""`chainrule play` serves the studio, and opens its playground."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

pytest.importorskip("starlette", reason="the studio's libraries are not installed: pip install '.[studio]'")
pytest.importorskip("websockets", reason="the studio's libraries are not installed: pip install '.[studio]'")

from chainrule.cli import cli, studio


def test_it_serves_the_playground(tmp_path):
    command = [sys.executable, "-u", "-m", "chainrule", "play", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        address, hint = (process.stdout.readline().strip() for _ in range(2))
        assert address.startswith("http://127.0.0.1:")
        assert address.endswith("#playground")
        assert hint == "Press Ctrl-C to stop the server."
        host, _, path = address.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.request("GET", "/" + path.partition("#")[0])
        assert connection.getresponse().status == 303  # the token becomes a cookie
        connection.close()
        process.terminate()
        assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []


def test_it_opens_the_playground_in_the_browser(monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(studio.webbrowser, "open", lambda address: opened.append(address) or True)
    monkeypatch.setattr("chainrule.studio.server.serve", lambda views, port, announce, lesson: announce(f"at {port}/"))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["play", "--port", "8123"])
    assert result.output == "at 8123/#playground\nPress Ctrl-C to stop the server.\n"
    assert opened == ["at 8123/#playground"]


def test_a_port_that_is_taken_and_one_that_is_none():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, sentence in (
            (
                ["--port", str(port)],
                f"chainrule: port {port} cannot be used: Address already in use; try another --port\n",
            ),
            (["--port", "70000"], "chainrule: invalid value for '--port': 70000 is not in the range 0<=x<=65535\n"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "chainrule", "play", "--no-browser", *arguments],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 2
            assert done.stderr.startswith(sentence)
