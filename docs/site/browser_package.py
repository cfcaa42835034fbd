"""Packs what the browser's Python loads: chainrule, the site's way to run cells, a tenth of MNIST, and first names."""

from __future__ import annotations

import importlib.util
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np

from chainrule.data import mnist
from chainrule.data.packed_mnist import PACKED, SAMPLE

SITE = Path(__file__).parent
SRC = SITE.parent.parent / "src"
FOLDER = SITE / "browser"  # made anew for each build
LEFT_OUT = {
    "cli", "onnx", "sklearn", "source", "torch.py", "__main__.py", "__pycache__",
    "studio", "sweep", "shipped_detector", PACKED.name,
}  # fmt: skip
"""Files and folders of the package: the command line, what needs libraries that no browser has, the studio, and the
network that reads pages, which no lesson uses."""
DATE = (1980, 1, 1, 0, 0, 0)  # of every file, so that the same files make the same archive


def write() -> Path:
    """Write `browser/chainrule.zip` for the site."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    archive = FOLDER / "browser" / "chainrule.zip"
    archive.parent.mkdir(parents=True)
    package = SRC / "chainrule"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(package.rglob("*")):
            inside = path.relative_to(package)
            if path.is_file() and LEFT_OUT.isdisjoint(inside.parts):
                _add(packed, f"chainrule/{inside.as_posix()}", path.read_bytes())
        for module in ("cells.py", "figures.py", "live.py"):
            _add(packed, module, (SITE / module).read_bytes())
        _add(packed, SAMPLE.relative_to(SRC).as_posix(), _sample())
        for name, content in _first_names().items():
            _add(packed, f"names/{name}", content)
    return archive


def _first_names() -> dict[str, bytes]:
    """What a text of first names is read from, in the package names: counts of the census of the USA of 1990.

    The extra docs has that package; without it, the lesson on a small GPT learns words.
    """
    spec = importlib.util.find_spec("names")
    if spec is None or spec.origin is None:
        return {}
    folder = Path(spec.origin).parent
    files = {f"dist.{gender}.first": (folder / f"dist.{gender}.first").read_bytes() for gender in ("female", "male")}
    return {"__init__.py": b"", **files}


def _sample() -> bytes:
    """The first tenth of MNIST's training images, and of its test images, as an `.npz` file."""
    data = mnist()
    train, test = len(data.train_images) // 10, len(data.test_images) // 10
    file = io.BytesIO()
    np.savez_compressed(
        file,
        x_train=data.train_images[:train], y_train=data.train_labels[:train],
        x_test=data.test_images[:test], y_test=data.test_labels[:test],
    )  # fmt: skip
    return file.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, DATE)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(entry, content)
