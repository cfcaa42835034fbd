"""The text files of a run: strange values, damaged bytes, and names with escape sequences."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np

from .attack import Case, Step, chainrule
from .child import WrongError
from .mutate import NASTY, strange_json

name = "configs"
_folder = Path()
FILES = ["config.json", "config.json", "config.json", "metrics.jsonl", "result.json"]


def prepare(folder: Path) -> None:
    """Find the folder of the runs."""
    global _folder
    _folder = folder.parent / "base"


def draw(random: np.random.Generator, folder: Path) -> Case:
    """Two runs in a folder, one with a modified file, read by `chainrule runs` and by another command."""
    shutil.copytree(_folder / "done", folder / "good")
    strange = folder / (NASTY.replace("/", "") if random.random() < 0.1 else "strange")
    stopped = random.random() < 0.5
    shutil.copytree(_folder / ("stopped" if stopped else "done"), strange)
    file = str(random.choice(["config.json", "metrics.jsonl"] if stopped else FILES))
    text = (strange / file).read_text()
    if file == "metrics.jsonl" and text.strip():
        lines = text.splitlines()
        index = int(random.integers(len(lines)))
        lines[index] = strange_json(random, lines[index])
        text = "\n".join(lines) + "\n" * int(random.integers(3))
    else:
        text = strange_json(random, text)
    (strange / file).write_bytes(text.encode(errors="surrogatepass"))
    steps: list[Step] = [Step("chainrule runs", partial(list_and_look, folder), codes=(0, 2))]
    match random.integers(4):
        case 0:
            steps.append(chainrule("evaluate", strange, "--json"))
        case 1:
            steps.append(chainrule("evaluate", strange))
        case 2:
            steps.append(chainrule("train", "--resume", strange, *(["--quiet"] if random.random() < 0.5 else [])))
        case _:
            from PIL import Image

            Image.fromarray(random.integers(0, 256, (28, 28)).astype(np.uint8)).save(folder / "a.png")
            steps.append(chainrule(str(random.choice(["predict", "read"])), folder / "a.png", "--run", strange))
    return Case(f"{file} of {'a stopped' if stopped else 'a'} run", steps)


def list_and_look(folder: Path) -> None:
    """Check that `chainrule runs` lists the good run whatever is wrong with the other one."""
    import contextlib
    import io
    import sys

    from chainrule.cli import main

    out = io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out):
        try:
            main(["runs", str(folder)])
        except SystemExit as end:
            code = end.code
    print(out.getvalue(), end="")
    if not any(line.split()[:1] == ["good"] for line in out.getvalue().splitlines()):
        raise WrongError("the other run is not listed")
    sys.exit(code)  # type: ignore[arg-type]
