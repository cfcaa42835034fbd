"""Untrusted names of files, runs, classes and tensors are escaped before they are printed."""

from __future__ import annotations

import ast
import json
import os
import shutil
import socket
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import chainrule.cli
from chainrule import safetensors_io
from chainrule.cli.output import print_lines, print_table
from chainrule.data import CacheWarning
from chainrule.errors import printable
from chainrule.training import run

NASTY = "a\x1b]0;title\x07\x1b[2J\nb\u202ec\x9b31m\x7fé"
SHOWN = r"a\x1b]0;title\x07\x1b[2J\nb\u202ec\x9b31m\x7fé"

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names of files")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Größe 3×3, 数字, naïve, שלום", "Größe 3×3, 数字, naïve, שלום"),
        ("👩\u200d👧 می\u200cخواهم", "👩\u200d👧 می\u200cخواهم"),  # joiners are part of such words
        (NASTY, SHOWN),
        ("\x00\t\r\n", r"\x00\t\r\n"),
        ("\x85\u2028\u2029", r"\x85\u2028\u2029"),
        ("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", r"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9") if sys.getfilesystemencoding() == "utf-8" else ("", ""),
        ("\ud800", r"\ud800"),
    ],
)  # fmt: skip
def test_what_is_shown(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


def test_every_control_character_is_shown():
    for code in range(0x11_0000):
        character = chr(code)
        if unicodedata.category(character) in ("Cc", "Cs"):
            assert printable(character).isascii()
            assert printable(character).isprintable()


def test_a_line_stays_one_line(capsys):
    print_lines("one\ntwo", "three")
    print_lines()
    print_lines(NASTY, err=True)
    assert capsys.readouterr() == ("one\\ntwo\nthree\n\n", SHOWN + "\n")


def test_a_name_does_not_break_a_table(capsys):
    print_table([("a\nb", "1"), ("c", "2")])
    assert capsys.readouterr().out == "a\\nb  1\nc     2\n"


def test_nothing_is_printed_past_it():
    """All modules of the command line print by the functions of `output`."""
    for file in Path(chainrule.cli.__file__).parent.glob("*.py"):
        names = {
            f"{node.func.value.id}.{node.func.attr}" if isinstance(node.func, ast.Attribute) else node.func.id
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.Call)
            and (
                isinstance(node.func, ast.Name)
                or (isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name))
            )
        }
        assert file.name == "output.py" or not names & {"click.echo", "click.secho", "print", "traceback.print_exc"}


def harmless(done):
    """Check all output for control characters, and return it."""
    text = done.out + done.err
    assert all(c == "\n" or printable(c) == c for c in text)
    assert "Traceback" not in text
    return text


def edit(folder, *path, value):
    config = json.loads((folder / "config.json").read_text())
    part = config
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def picture(here, write):
    drawn = Image.new("L", (100, 100), 225)
    write(drawn, "7", 30)
    drawn.save(here / "7.png")
    return "7.png"


@pytest.fixture
def stranger(here):
    """The pretrained run with renamed classes."""
    folder = Path(shutil.copytree(run.shipped().folder, here / "stranger"))
    edit(folder, "data", "classes", value=[*(f"{NASTY}{i}" for i in range(10)), "none"])
    return folder


def test_class_names(command, stranger, picture):
    done = command("predict", picture, "--run", stranger, "--explain", "steps.png")
    assert (done.code, done.err) == (0, "")
    lines = harmless(done).splitlines()
    assert lines[0].startswith(f"7.png: {SHOWN}7  (")
    assert len(lines) == 1 + 10 + 2
    assert len({line.index("%") for line in lines[1:11]}) == 1  # in columns
    done = command("read", picture, "--run", stranger, "--out", "drawn.png")
    assert done.code == 0
    assert f"{SHOWN}7" in harmless(done)
    done = command("predict", picture, "--run", stranger, "--json")
    assert json.loads(done.out)[0]["digit"] == 7


@linux
def test_names_of_pictures(command, here, picture):
    (here / NASTY).mkdir()
    for name in (f"{NASTY}/{NASTY}.png", os.fsdecode(b"caf\xe9.png")):
        shutil.copy(picture, name)
        done = command("predict", name)
        assert (done.code, done.err) == (0, "")
        assert harmless(done).splitlines()[0].endswith(".png: 7  (100.0%)")
        Path(name).write_bytes(b"")
        for program in ("predict", "read"):
            done = command(program, name)
            assert done.code == 2
            assert harmless(done).endswith(".png: the file is empty\n")
    done = command("read", picture, "--out", f"{NASTY}/out.svg")
    assert done.code == 2
    assert harmless(done).startswith(f"chainrule: {SHOWN}/out.svg: '.svg' is not a supported photo format")


@linux
def test_names_of_runs(command, here, copy):
    (here / "runs").mkdir()
    copy.rename(here / "runs" / NASTY)
    folder = here / "runs" / NASTY
    done = command("runs")
    assert (done.code, done.err) == (0, "")
    assert harmless(done).count("\n") == 1
    for arguments in (["evaluate", folder], ["train", "--resume", folder], ["evaluate", "--json"]):
        assert command(*arguments).code == 0
        harmless(command(*arguments))
    edit(folder, "model", "name", value=NASTY)
    edit(folder, "data", "name", value=NASTY)
    done = command("runs")
    assert (done.code, done.err) == (0, "")
    assert harmless(done).count(SHOWN) == 3
    for arguments in (["evaluate", folder], ["train", "--resume", folder]):
        done = command(*arguments)
        assert done.code == 2
        assert SHOWN in harmless(done)
        assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "part", ["an unknown key", "a value", "the date", "a tensor's name", "metrics", "JSON", "a key's type"]
)
def test_what_is_amiss_in_a_run(command, copy, part):
    if part == "an unknown key":
        edit(copy, "data", NASTY, value=1)
    elif part == "a value":
        edit(copy, "training", "optimizer", value=NASTY)
    elif part == "the date":
        edit(copy, "created", value=NASTY)
    elif part == "a tensor's name":
        safetensors_io.save({NASTY: np.zeros(3)}, copy / "model.safetensors")
    elif part == "metrics":
        (copy / "metrics.jsonl").write_text('{"\x1b": 1}\n{\x1b[31m}')
    elif part == "JSON":
        (copy / "config.json").write_text("{\x1b[31m}")
    else:
        edit(copy, "model", "options", value={NASTY: 1})
    for arguments in (["evaluate", copy], ["train", "--resume", copy], ["runs", copy.parent]):
        done = command(*arguments)
        assert done.code in (0, 2)
        harmless(done)
        assert done.err.count("\n") <= 1


IN_TURN = """
import json, os, resource, sys
import chainrule.cli
resource.setrlimit(resource.RLIMIT_AS, (4 << 30,) * 2)
here = os.getcwd()
for folder, arguments in json.load(sys.stdin):
    os.chdir(os.path.join(here, folder))
    try:
        chainrule.cli.main(arguments)
    except SystemExit as end:
        print("->", end.code, file=sys.stderr)
"""

COMMANDS_OF_A_RUN = {  # `copy` is a run for images of 12×12, `stranger` one for 28×28
    "runs": ("copy", ["runs", "."]),
    "evaluate": ("copy", ["evaluate", "copy"]),
    "predict": ("stranger", ["predict", "7.png", "--run", "stranger"]),
    "read": ("stranger", ["read", "7.png", "--run", "stranger"]),
    "resume": ("copy", ["train", "--resume", "copy"]),
    "more epochs": ("copy", ["train", "--resume", "copy", "--epochs", "3"]),
    "go back": ("copy", ["train", "--resume", "copy", "--epoch", "1", "--epochs", "3"]),
}


READERS = {
    "config.json": list(COMMANDS_OF_A_RUN)[1:],
    "metrics.jsonl": ["runs"],
    "result.json": ["runs"],
    "model.safetensors": ["evaluate", "predict", "read", "resume"],
    "checkpoint/state.safetensors": ["resume", "more epochs"],
    "checkpoint/epoch-1.safetensors": ["go back"],
}
"""By file the commands that read it; other commands do not need it, or overwrite it."""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("plant", ["pipe", "socket", "link to /dev/zero"])
def test_what_is_no_regular_file_is_refused_at_once(copy, stranger, picture, plant):
    commands, sentences = [], []
    for number, (name, readers) in enumerate(READERS.items()):
        place = Path(str(number))
        for folder in (copy, stranger):
            shutil.copytree(folder, place / folder.name)
        shutil.copy(picture, place)
        for folder in {COMMANDS_OF_A_RUN[reader][0] for reader in readers}:
            file = place / folder / name
            file.unlink(missing_ok=True)
            if plant == "pipe":
                os.mkfifo(file)
            elif plant == "socket":
                with socket.socket(socket.AF_UNIX) as opened:
                    opened.bind(str(file))
            else:
                file.symlink_to("/dev/zero")
        for folder, arguments in (COMMANDS_OF_A_RUN[reader] for reader in readers):
            commands.append([str(place), arguments])
            sentences.append(f"chainrule: {folder}/{name}: cannot be read (not a regular file)")
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert done.stderr.splitlines() == [line for sentence in sentences for line in (sentence, "-> 2")]


def test_what_a_shell_hands_on(command):
    """`chainrule predict *` in a folder that contains a file `--\\x1b[31m.png`."""
    for arguments in (["predict", f"--{NASTY}.png"], [NASTY], ["train", "--model", NASTY], ["runs", NASTY]):
        done = command(*arguments)
        assert done.code == 2
        assert "\x1b" not in done.err
        assert "\x9b" not in done.err


@linux
def test_warnings(command, here, monkeypatch):
    (here / "file").write_text("")
    monkeypatch.setenv("CHAINRULE_CACHE", f"file/{NASTY}")
    with warnings.catch_warnings():
        warnings.simplefilter("default", CacheWarning)
        done = command("train", "--limit", "300", "--epochs", "1", "--quiet")
    assert done.code == 0
    assert done.err.startswith("chainrule: mnist is kept in memory for this run only, ")
    assert SHOWN in harmless(done)


def test_a_fault_of_ours(command, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError(NASTY)

    monkeypatch.setattr("chainrule.cli.listings.print_table", fail)
    done = command("models")
    assert done.code == 1
    assert r"ZeroDivisionError: a\x1b]0;title\x07\x1b[2J" in done.err
    assert "\x1b" not in done.err
