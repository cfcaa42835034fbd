"""`chainrule docs`: the site is found, unpacked once, and served to this machine alone."""

from __future__ import annotations

import http.client
import importlib.util
import threading
import webbrowser
import zipfile
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from chainrule.cli import docs as module
from chainrule.cli.docs import docs, find_site
from chainrule.errors import UserError


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installation with a small site in it, and no checkout around it."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "CHECKOUT", tmp_path / "nowhere")
    monkeypatch.setattr(module, "SITE_ARCHIVE", tmp_path / "site.zip")
    pack(tmp_path / "site.zip", "first")
    return tmp_path


def pack(path, text):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("index.html", f"<h1>{text}</h1>")
        archive.writestr("lessons/index.html", "<h1>Lessons</h1>")


def test_the_packages_site_is_unpacked_once_and_a_new_one_replaces_it(installed):
    folder = find_site()
    assert (folder / "index.html").read_text() == "<h1>first</h1>"
    assert (folder / "lessons" / "index.html").is_file()
    (folder / "index.html").write_text("kept")
    assert find_site() == folder
    assert (folder / "index.html").read_text() == "kept"
    pack(installed / "site.zip", "second")
    newer = find_site()
    assert (newer / "index.html").read_text() == "<h1>second</h1>"
    assert [path.name for path in newer.parent.iterdir()] == [newer.name]


def test_a_checkouts_own_site_comes_first(installed, monkeypatch):
    monkeypatch.setattr(module, "CHECKOUT", installed / "checkout")
    (installed / "checkout" / "docs" / "site").mkdir(parents=True)
    (installed / "checkout" / "docs" / "site" / "conf.py").touch()
    with pytest.raises(UserError, match="has not been built in this checkout; build it with: make docs"):
        find_site()
    built = installed / "checkout" / "build" / "site"
    built.mkdir(parents=True)
    (built / "index.html").touch()
    assert find_site() == built


def test_no_site_and_a_damaged_one(installed):
    content = (installed / "site.zip").read_bytes()
    for damaged in (content[:60], b"", content[:40] + bytes(30) + content[70:]):
        (installed / "site.zip").write_bytes(damaged)
        with pytest.raises(UserError, match="the site is damaged"):
            find_site()
        assert not list((installed / "cache" / "site").iterdir())
    (installed / "site.zip").unlink()
    with pytest.raises(UserError, match="does not contain the site; in a checkout, build it with: make docs"):
        find_site()


def test_the_browser_is_opened_or_the_address_printed(installed, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
    printed = CliRunner().invoke(docs, ["--print"])
    assert printed.exit_code == 0
    assert printed.output.strip() == (find_site() / "index.html").as_uri()
    assert opened == []
    assert CliRunner().invoke(docs).output == printed.output
    assert opened == [printed.output.strip()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert "No browser was found" in CliRunner().invoke(docs).output
    assert CliRunner().invoke(docs, ["--port", "8000"]).exit_code == 2


@pytest.fixture
def server(installed):
    (installed / "secret.txt").write_text("secret")
    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(module._SiteHandler, directory=str(find_site())))
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def request(server, path, host=None, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_server_answers_for_its_folder_and_its_name_only(server, installed):
    assert request(server, "/index.html") == (200, b"<h1>first</h1>")
    assert request(server, "/index.html", f"localhost:{server.server_port}")[0] == 200
    for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1", "127.0.0.1:1", "localhost:80"):
        assert request(server, "/index.html", host)[0] == 421, host
    depth = len(find_site().relative_to(installed).parts)
    for path in (
        "/" + "../" * depth + "secret.txt",
        "/" + "%2e%2e/" * depth + "secret.txt",
        f"/{installed}/secret.txt",
    ):
        status, text = request(server, path)
        assert status == 404, path
        assert b"secret" not in text.replace(b"secret.txt", b"")
    assert request(server, "/index.html", method="POST")[0] == 501


def test_a_port_in_use_is_named(server):
    result = CliRunner().invoke(docs, ["--serve", "--print", "--port", str(server.server_port)])
    assert isinstance(result.exception, UserError)
    assert f"port {server.server_port} cannot be used" in str(result.exception)


def test_the_same_site_is_packed_to_the_same_bytes(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling, which builds wheels, is not installed")
    file = Path(__file__).parents[2] / "scripts" / "pack_site.py"
    spec = importlib.util.spec_from_file_location("pack_site", file)
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    site = tmp_path / "site"
    (site / "a").mkdir(parents=True)
    for name in ("index.html", "a/b.html", ".buildinfo", "objects.inv"):
        (site / name).write_text(name * 100)
    hook.pack(site, tmp_path / "1.zip")
    (site / "index.html").touch()
    hook.pack(site, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.zip") as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == {
            name: name * 100 for name in ("index.html", "a/b.html")
        }
