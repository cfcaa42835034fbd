"""The studio's page: doors between views, the address, and what a stranger meets when the server has gone."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from chainrule.studio import server
from chainrule.studio.wire import unpack

if TYPE_CHECKING:
    from .conftest import Visit


def views() -> list[tuple[str, str]]:
    """The names and titles of all views, from the page's own table."""
    table = (server.STATIC / "views.js").read_text(encoding="utf-8")
    found = re.findall(r'name: "(\w+)",\s*title: "([^"]+)"', table)
    assert len(found) > 2
    return found


def test_each_door_opens_its_view(view: Any, studio: Any) -> None:
    opened = view("draw")
    page = opened.page
    for name, title in views():
        page.get_by_role("link", name=title, exact=True).click()
        page.locator(f"#view .{name}").wait_for()
        assert page.title() == f"{title} – chainrule studio"
        assert page.locator("nav [aria-current=page]").inner_text() == title
        page.locator("#view h2, #view p").first.wait_for()
    page.go_back()
    page.locator(f"#view .{views()[-2][0]}").wait_for()
    assert opened.complaints == []
    assert opened.elsewhere(studio.base) == []


def test_the_keyboard_gets_to_the_view_and_the_address_stays(view: Any) -> None:
    page = view("draw", "strokes=5.5.a0.a0").page
    address = page.url
    page.locator("#skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "view"
    assert page.url == address
    first = page.locator("nav a").first
    first.focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(f"#view .{views()[2][0]}").wait_for()


def test_a_long_drawing_is_kept_beside_the_runs(view: Any, studio: Any) -> None:
    stroke = ".".join(f"{10 + x}.{y}" for x in range(80) for y in ("7a", "9c"))
    page = view("draw", f"strokes={'-'.join([stroke] * 20)}").page
    page.locator("canvas.pad").click()  # one stroke more
    page.wait_for_url("**#draw?kept=*")
    assert "strokes=" not in page.url
    picture = "canvas => canvas.toDataURL()"
    drawn = page.locator("canvas.pad").evaluate(picture)
    other = page.context.new_page()
    other.goto(page.url)
    for _ in range(100):  # the policy of the page forbids wait_for_function
        if other.locator("canvas.pad").evaluate(picture) == drawn:
            break
        other.wait_for_timeout(100)
    assert other.locator("canvas.pad").evaluate(picture) == drawn
    assert len(list((studio.runs / "studio").iterdir())) >= 1


def test_a_door_opens_the_view_as_it_was_left(view: Any, studio: Any) -> None:
    page = view("train", "epochs=900&limit=2000&batch_size=50&schedule=constant").page
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator(".view.train[data-state=running]").wait_for()
    page.get_by_label("Keep running when this page is closed").check()
    page.wait_for_url("**keep=true*")
    page.get_by_role("link", name="Draw", exact=True).click()
    page.locator("canvas.pad").first.wait_for()
    other = page.context.new_page()  # neither has it been told of the run, nor to keep it running
    other.goto(f"{studio.base}#train")
    other.locator(".view.train[data-state=running]").wait_for()
    assert other.get_by_label("Keep running when this page is closed").is_checked()
    other.close()
    page.get_by_role("link", name="Train", exact=True).click()
    page.locator(".view.train[data-state=running]").wait_for()
    keep = page.get_by_label("Keep running when this page is closed")
    assert keep.is_checked()
    keep.uncheck()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator(".view.train[data-state=stopped]").wait_for()


def test_a_view_that_is_being_left_does_not_take_the_address_back(view: Any) -> None:
    """It may write its state while the next view's module is still on its way."""
    page = view("draw").page
    held = []
    page.route("**/views/train.js", lambda route: held.append(route))  # a function of Python is needed
    page.get_by_role("link", name="Train", exact=True).click()
    page.locator("canvas.pad").click()  # Draw writes the stroke into its address
    assert page.url.endswith("#train")
    held[0].continue_()
    page.locator("#view .train").wait_for()
    page.get_by_role("link", name="Draw", exact=True).click()
    page.wait_for_url("**#draw?strokes=*")  # nothing is lost


def test_an_answer_to_a_view_that_has_been_left_is_not_taken(view: Any) -> None:
    """The next view asks with the same numbers, here about another text."""
    page = view("draw").page
    held: list[Any] = []

    def connect(socket: Any) -> None:
        server = socket.connect_to_server()

        def answered(message: bytes) -> None:
            if unpack(message)[0]["tell"] == "reading":
                held.append((socket, message))
            else:
                socket.send(message)

        server.on_message(answered)

    def pass_on(text: str) -> Any:
        """What passes the answer on to the page, once it is there."""
        for _ in range(200):
            for socket, message in held:
                if unpack(message)[0]["tokens"] == [text]:
                    return lambda: socket.send(message)
            page.wait_for_timeout(50)
        raise AssertionError(text)

    page.route_web_socket("**/socket", connect)
    page.goto(page.url.partition("#")[0] + "#words?text=river")
    page.reload()
    river = pass_on("river")
    page.evaluate("location.hash = '#words?text=bakery'")
    bakery = pass_on("bakery")
    river()
    page.wait_for_timeout(200)
    assert page.locator(".next .name").count() == 0
    bakery()
    page.locator(".wires button", has_text="bakery").wait_for()


def test_a_server_that_has_gone_is_told(visit: Any, tmp_path: Any) -> None:
    command = [sys.executable, "-u", "-m", "chainrule", "studio", "--no-browser", "--runs", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        opened: Visit = visit("", base=process.stdout.readline().strip())
        opened.page.locator("canvas.pad").wait_for()
        process.kill()
    opened.page.locator("#connection", has_text="Start it again with: chainrule studio").wait_for()
