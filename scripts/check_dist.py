"""Build the wheel and the sdist, and test the wheel without the checkout: `make dist`.

The script installs the wheel into an empty environment in a temporary folder and runs the README's commands and Python
there. Every Python process of that environment refuses to open files of the checkout, so lessons, data and weights must
come from the wheel. It prints one line for each check; the first check that fails ends it with exit code 1.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GUARD = f"""
import sys

def refuse(event, arguments):
    if event == "open" and str(arguments[0]).startswith({str(ROOT) + os.sep!r}):
        raise PermissionError(f"{{arguments[0]}} is in the checkout")

sys.addaudithook(refuse)
"""
PHOTOS = """
import numpy as np
from PIL import Image
from chainrule import data

digits = data.mnist().split().test.images
page = np.full((300, 400), 235, np.uint8)  # four digits, dark on light paper
for number, (y, x) in enumerate([(40, 40), (40, 160), (160, 60), (160, 200)]):
    page[y : y + 56, x : x + 56] -= (digits[number].repeat(2, 0).repeat(2, 1) * 0.8).astype(np.uint8)
Image.fromarray(page).save("page.jpg")
Image.fromarray(page[20:116, 20:116]).save("photo.jpg")
"""
WHERE = "import chainrule; print(chainrule.__version__, chainrule.__file__)"


class CheckError(Exception):
    """A check has failed."""


class Environment:
    """A new environment, in which the wheel will be installed, and a folder to run commands in."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        venv.create(folder / "env", with_pip=True)
        self.bin = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        leave_out = ("PYTHON", "CHAINRULE_CACHE", "CHAINRULE_DATA", "VIRTUAL_ENV", "XDG_")
        self.variables = {k: v for k, v in os.environ.items() if not k.startswith(leave_out)}
        self.variables |= {"HOME": str(self.work), "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}

    def guard(self) -> None:
        """Make every Python process of the environment refuse to open files of the checkout."""
        (packages,) = self.bin.parent.rglob("site-packages")
        (packages / "no_checkout.py").write_text(GUARD, encoding="utf-8")
        (packages / "no_checkout.pth").write_text("import no_checkout\n", encoding="utf-8")

    def run(self, *command: str | Path) -> str:
        """Run a command in the working folder; return what it printed."""
        program = shutil.which(str(command[0]), path=str(self.bin)) or str(command[0])
        return run([program, *command[1:]], cwd=self.work, env=self.variables)


def run(command: list[str | Path], **options: object) -> str:
    """Run a command; return its standard output."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)  # noqa: S603
    if done.returncode:
        raise CheckError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def check(name: str, detail: object = "") -> None:
    """Print that a check has passed, and the seconds since the previous one."""
    now = time.perf_counter()
    print(f"{name:<58} {now - check.last:5.1f} s  {detail}".rstrip(), flush=True)
    check.last = now


check.last = time.perf_counter()


def build(source: Path, target: Path, *kinds: str) -> None:
    """Build the distributions of a source folder with the backend that its pyproject.toml names."""
    run([sys.executable, "-m", "build", *kinds, "--outdir", target, source])


def contents(wheel: Path) -> dict[str, int]:
    """The checksums of a wheel's files, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist()}


def build_both() -> tuple[Path, Path]:
    """Build the wheel and the sdist into dist/, and check that the sdist gives the same wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    build(ROOT, DIST, "--wheel", "--sdist")
    (wheel,) = DIST.glob("*.whl")
    (sdist,) = DIST.glob("*.tar.gz")
    check("wheel and sdist", f"{wheel.name} {wheel.stat().st_size / 1e6:.1f} MB, {sdist.name}")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (unpacked,) = Path(folder).iterdir()
        build(unpacked, Path(folder), "--wheel")
        (second,) = Path(folder).glob("*.whl")
        ours, theirs = contents(wheel), contents(second)
        if ours != theirs:
            differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
            raise CheckError(f"the sdist gives a different wheel: {', '.join(differing[:10])}")
    check("the sdist gives the same wheel", f"{len(ours)} files")
    return wheel, sdist


def check_readme(environment: Environment) -> None:
    """Run every `chainrule` command in the README's blocks, and its Python blocks without a `run:` comment."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for kind, block in FENCE.findall(re.sub(r"<!-- run: .*? -->\n```.*?^```$", "", text, flags=re.M | re.S)):
        if kind == "python":
            printed = environment.run("python", "-c", block).strip()
            check("README: its Python", printed)
            continue
        for line in block.splitlines():
            if line.startswith("chainrule "):
                command = re.split(r"  +|\s#", line)[0]
                printed = environment.run(*shlex.split(command)).strip().splitlines()
                check(f"README: {command}", printed[-1] if "predict" in command else f"{len(printed)} lines")
    for drawing in ("mistakes.png", "read.jpg"):
        if not (environment.work / drawing).is_file():
            raise CheckError(f"{drawing} was not drawn")
    (folder,) = (environment.work / "runs").glob("*-mlp-*")
    accuracy = json.loads(environment.run("chainrule", "evaluate", folder, "--json"))["accuracy"]
    if accuracy < 0.97:
        raise CheckError(f"the network that the README's command trained reads {accuracy:.2%} of the test images")
    check("README: the network that it trains", f"reads {accuracy:.2%} of the test images")


def main() -> None:
    """Build, install and test."""
    wheel, _ = build_both()
    with tempfile.TemporaryDirectory() as folder:
        environment = Environment(Path(folder).resolve())
        shutil.copy(wheel, environment.work)
        environment.run(
            "python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install", environment.work / wheel.name
        )
        check("the wheel installs into an empty environment")
        environment.guard()
        version, file = environment.run("python", "-c", WHERE).split(maxsplit=1)
        if not file.startswith(folder) or version != wheel.name.split("-")[1]:
            raise CheckError(f"chainrule {version} comes from {file}")
        try:
            environment.run("python", "-c", f"open({str(ROOT / 'README.md')!r})")
        except CheckError:
            check("nothing of the checkout can be read there", f"chainrule {version}")
        else:
            raise CheckError("the checkout can be read there")
        environment.run("python", "-c", PHOTOS)
        check("MNIST is in the wheel")
        check_readme(environment)
        environment.run("chainrule", "lesson", "1")
        check("chainrule lesson 1")
        if (ROOT / "build" / "site" / "index.html").is_file():
            page = environment.run("chainrule", "docs", "--print").strip()
            if not Path(page.removeprefix("file://")).is_file():
                raise CheckError(f"chainrule docs: {page} does not exist")
            check("chainrule docs", f"{(wheel.stat().st_size) / 1e6:.1f} MB with the site")


if __name__ == "__main__":
    try:
        main()
    except CheckError as error:
        sys.exit(f"make dist: {error}")
