"""Checkpoints of a stopped run: with damaged bytes, or with strange values and a valid checksum."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np

from . import base
from .attack import Case, Step, chainrule, check
from .mutate import edits, strange_document, to_json, write_edited

name = "checkpoints"
_folder = Path()


def prepare(folder: Path) -> None:
    """Find the folder with the stopped run and the expected outcome."""
    global _folder
    _folder = folder.parent / "base"


def draw(random: np.random.Generator, folder: Path) -> Case:
    """Resume the stopped run with a modified checkpoint."""
    run = Path(shutil.copytree(_folder / "stopped", folder / "run"))
    file = run / "checkpoint" / "state.safetensors"
    content = file.read_bytes()
    if random.random() < 0.5:
        changes = edits(random, content)
        rewrite = write_edited(file, content, changes)
        steps = [chainrule("train", "--resume", run, "--quiet"), check("the same end", partial(same_end, run, _folder))]
        return Case(f"bytes, {len(changes)} edits", steps, len(changes), rewrite)
    seed = int(random.integers(1 << 62))
    steps = [
        Step("rewritten", partial(rewrite_state, file, seed), free=True),
        chainrule("train", "--resume", run, "--quiet"),
    ]
    return Case(f"strange values, checksum right, {seed}", steps)


def same_end(run: Path, folder: Path) -> None:
    """Check that training, unless it was refused, has the expected outcome."""
    if (run / "result.json").exists():
        base.same_outcome(run, base.facts(folder)["outcome"])


def rewrite_state(file: Path, seed: int) -> None:
    """Save the checkpoint with strange values, and a valid checksum."""
    from chainrule import safetensors_io

    random = np.random.default_rng(seed)
    arrays, note = safetensors_io.load_with_note(file)
    if random.random() < 0.3:
        spoil(random, arrays)
    else:
        note = to_json(strange_document(random, json.loads(note or "")))
    safetensors_io.save(arrays, file, note)


def spoil(random: np.random.Generator, arrays: dict[str, np.ndarray]) -> None:
    """Change the type, the shape or the values of one array, remove it, or add another."""
    key = list(arrays)[int(random.integers(len(arrays)))]
    array = arrays[key]
    match random.integers(6):
        case 0:
            arrays[key] = array.astype(str(random.choice(["float64", "int8", "bool", "float16"])))
        case 1:
            arrays[key] = array.reshape(-1)
        case 2:
            arrays[key] = array[:0]
        case 3:
            del arrays[key]
        case 4:
            arrays[key] = np.full_like(array, np.nan if array.dtype.kind == "f" else 1)
        case _:
            arrays["another"] = array
