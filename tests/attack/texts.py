"""Language models: damaged tokenizers, configs and texts, and prompts of unusual characters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from . import base
from .attack import Case, chainrule
from .mutate import NASTY, edits, strange_json, write_edited

if TYPE_CHECKING:
    import numpy as np

name = "texts"
_folder = Path()
DANGEROUS = "\x1b]\x07[\x9b\u202e\x7f\u2028"
PROMPTS = ["the c", "", "a" * 8, "a" * 9, NASTY.replace("\0", ""), "\udcff", "猫", "\n\n"]


def prepare(folder: Path) -> None:
    """Find the folder of the run."""
    global _folder
    _folder = folder.parent / "base"


def draw(random: np.random.Generator, folder: Path) -> Case:
    """A run with a modified file, read by a command; or a damaged text to train on."""
    if random.random() < 0.3:
        file = folder / "text.txt"
        content = base.TEXT.encode()
        changes = edits(random, content)
        steps = [chainrule(*base.TRAIN_TEXT, "--data", file, "--out", folder / "run")]
        return Case(f"a text, {len(changes)} edits", steps, len(changes), write_edited(file, content, changes))
    run = Path(shutil.copytree(_folder / "text", folder / "run"))
    if random.random() < 0.2:  # valid, but with characters that control a terminal
        tokenizer = json.loads((run / "tokenizer.json").read_text())
        tokenizer["characters"] = (DANGEROUS + tokenizer["characters"])[: len(tokenizer["characters"])]
        (run / "tokenizer.json").write_text(json.dumps(tokenizer))
        step = chainrule("generate", run, "--tokens", 50, "--seed", int(random.integers(99)), codes=(0,))
        return Case("a tokenizer of control characters", [step])
    name = str(random.choice(["tokenizer.json", "tokenizer.json", "config.json", "result.json"]))
    text = strange_json(random, (run / name).read_text())
    (run / name).write_bytes(text.encode(errors="surrogatepass"))
    match random.integers(5):
        case 0:
            step = chainrule("evaluate", run, *(["--json"] if random.random() < 0.5 else []))
        case 1:
            step = chainrule("train", "--resume", run, "--quiet")
        case 2:
            step = chainrule("runs", folder)
        case _:
            prompt = str(random.choice(PROMPTS))
            step = chainrule("generate", run, "--tokens", 20, "--prompt", prompt, "--seed", int(random.integers(5)))
    return Case(f"{name} of a run on text", [step])
