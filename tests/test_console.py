"""What is printed reaches any standard output: characters that its encoding lacks are replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
LONG = {"network", "language"}  # they train for seconds; what replaces is done before a page runs
PAGES = sorted({file.stem for file in (ROOT / "src/chainrule/first_principles").glob("[!_]*.py")} - LONG)
COMMANDS: list[list[str]] = [
    ["--help"],
    *[
        [name, "--help"]
        for name in ("train", "evaluate", "predict", "read", "export", "lesson", "runs", "data", "models")
    ],
    ["models"],
    ["data"],
    ["lesson"],
    ["lesson", "1"],
]

# `cp1252` is that of a pipe on Windows, `ascii` that of the bare C locale
ENCODINGS = ["cp1252", "ascii"]


def run(arguments: list[object], encoding: str, folder: Path) -> str:
    """What a process prints on a standard output of this encoding."""
    env = {**os.environ, "PYTHONIOENCODING": encoding, "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, *arguments], env=env, cwd=folder, capture_output=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr.decode(encoding)) == (0, "")
    return done.stdout.decode(
        "utf-8" if encoding == "ascii" else encoding
    )  # click takes ASCII for a misconfigured UTF-8


IN_TURN = """
import json, sys
from chainrule.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.stdout.reconfigure(errors="strict")  # as each process begins
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code, arguments
    print(end="\\f", flush=True)
"""
"""The command as often as there are arguments for it, in one process: to start takes longer than all that it does."""


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_command(tmp_path: Path, encoding: str) -> None:
    *printed, rest = run(["-c", IN_TURN, json.dumps(COMMANDS)], encoding, tmp_path).split("\f")
    assert rest == ""
    assert [arguments for arguments, out in zip(COMMANDS, printed, strict=True) if not out.strip()] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_of_first_principles(tmp_path: Path, page: str) -> None:
    out = run(["-m", f"chainrule.first_principles.{page}"], "ascii", tmp_path)
    assert page != "convolution" or "(1, 28, 28) ? (32, 14, 14) ? (64, 7, 7) ? 3136 ? 10" in out


def test_a_lesson_as_a_script(tmp_path: Path) -> None:
    run([LESSONS[0]], "ascii", tmp_path)


def test_every_lesson_prints_by_way_of_what_replaces() -> None:
    """The others take a minute or more each: it is enough that they import what the first one does."""
    assert len(LESSONS) >= 14
    for lesson in LESSONS:
        assert "\nfrom chainrule.lessons import" in lesson.read_text("utf-8")


@pytest.mark.parametrize(
    ("chosen", "shown"), [("ascii", "?"), ("ascii:backslashreplace", "\\u2192"), ("ascii:xmlcharrefreplace", "&#8594;")]
)
def test_what_the_user_has_chosen_stays(chosen: str, shown: str) -> None:
    code = "from chainrule.console import replace_unencodable as r; r(); print('→')"
    env = {**os.environ, "PYTHONIOENCODING": chosen}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == shown + "\n"


@pytest.mark.parametrize("output", [None, object()])
def test_without_a_standard_output_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch, output: object) -> None:
    """Python has none under pythonw, or where it was closed; notebooks have one of their own kind."""
    from chainrule.console import replace_unencodable

    monkeypatch.setattr(sys, "stdout", output)
    replace_unencodable()


def test_a_program_of_the_users_own_is_left_alone() -> None:
    code = "import sys, chainrule, chainrule.lessons, chainrule.first_principles; print(sys.stdout.errors)"
    env = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "strict\n"
