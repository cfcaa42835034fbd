"""Weights: safetensors files with damaged bytes, forged headers, and headers that declare missing data."""

from __future__ import annotations

import json
import shutil
import struct
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .attack import Case, Step, chainrule
from .child import WrongError
from .mutate import edits, strange_json, write_edited

if TYPE_CHECKING:
    import numpy as np

name = "weights"
_folder = Path()
FILE = "model.safetensors"


def prepare(folder: Path) -> None:
    """Find the folder of the finished run."""
    global _folder
    _folder = folder.parent / "base"


def draw(random: np.random.Generator, folder: Path) -> Case:
    """The finished run with a modified weights file."""
    run = Path(shutil.copytree(_folder / "done", folder / "run"))
    content = (run / FILE).read_bytes()
    length = int.from_bytes(content[:8], "little")
    choice = random.random()
    if choice < 0.4:
        about, content = "a forged header", with_header(strange_json(random, content[8 : 8 + length].decode()), content)
        changes = []
    elif choice < 0.5:
        about, content, changes = "many tensors", many(random), []
    else:
        about = "bytes"
        changes = edits(random, content) if random.random() < 0.6 else edits(random, content, start=8 + length)
    rewrite = write_edited(run / FILE, content, changes)
    steps: list[Step] = [Step("safetensors_io.load", partial(load_and_compare, run / FILE, _folder / "done" / FILE))]
    if random.random() < 0.4:
        steps.append(chainrule("evaluate", run, "--json"))
    return Case(f"{about}, {len(changes)} edits", steps, len(changes), rewrite)


def with_header(header: str, content: bytes) -> bytes:
    """The file with a modified header of the declared length."""
    length = int.from_bytes(content[:8], "little")
    text = header.encode(errors="surrogatepass")
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def many(random: np.random.Generator) -> bytes:
    """A file of up to 300,000 empty tensors."""
    count = int(10 ** random.uniform(2, 5.5))
    entry = {"dtype": str(random.choice(["F32", "BF16", "F64", "I8"])), "shape": [0], "data_offsets": [0, 0]}
    names: dict[str, object] = {str(i): entry for i in range(count)}
    return with_header(json.dumps({"__metadata__": {"format": "np"}, **names}, separators=(",", ":")), bytes(8))


def load_and_compare(file: Path, original: Path) -> None:
    """Check that a file is refused, loaded with a warning (it has no checksum), or loaded with the original content."""
    import warnings

    from chainrule import safetensors_io
    from chainrule.errors import RunError

    expected = safetensors_io.load(original)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loaded = safetensors_io.load(file, from_chainrule=True)
        except RunError as error:
            if "\n" in str(error) or len(str(error)) > 5000:
                raise WrongError(f"not one sentence: {str(error)[:200]!r}") from None
            return
    if caught or b'"format":' in file.read_bytes()[:400_000]:  # without a checksum, damage cannot be detected
        return
    same = loaded.keys() == expected.keys() and all(
        tensor.dtype == expected[key].dtype
        and tensor.shape == expected[key].shape
        and tensor.numpy().tobytes() == expected[key].numpy().tobytes()
        for key, tensor in loaded.items()
    )
    if not same:
        raise WrongError("the file was loaded, and holds other weights than those that were saved")
