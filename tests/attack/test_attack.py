"""The attacks find each kind of fall, in a step and in chainrule itself, and can repeat it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.cli import signals, train

from . import campaign, planted
from .attack import EXPECTED

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the attacks are for Linux")

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `tests.attack.planted` prints, run in a folder."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return subprocess.run(
        [sys.executable, "-m", "tests.attack.planted", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )


def test_each_kind_of_fall_is_told_from_what_is_right(tmp_path: Path) -> None:
    done = run(tmp_path, "steps")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: kind for name, (_, kind) in planted.STEPS.items()}


def test_there_is_a_fault_for_each_attack() -> None:
    assert planted.PLANTS.keys() == campaign.ATTACKS.keys()


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str] | None]:
    """The first fall of each attack that is due to its planted fault."""
    done = run(tmp_path_factory.mktemp("faults"), "faults")
    assert done.returncode == 0, done.stderr
    found: dict[str, tuple[str, str] | None] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("attack", planted.PLANTS)
def test_each_attack_finds_a_fault_of_its_kind_in_chainrule(
    faults: dict[str, tuple[str, str] | None], attack: str
) -> None:
    kind, what = faults[attack] or (None, None)
    assert kind in planted.PLANTS[attack][1], what


@pytest.mark.slow
def test_what_falls_is_printed_and_falls_again(tmp_path: Path) -> None:
    done = run(tmp_path, "attack", "--seconds", "2", "--seed", "7", "--jobs", "2")
    assert done.returncode == 1
    assert done.stdout.startswith("seed 7; ")
    pattern = r"""WRONG  planted \((\w{40}), of which 1 matter\)
    looked at: wrong: \1
    again: python -m tests\.attack --case '(planted:7\d{6})'   files: (\S+)"""
    falls = re.findall(pattern, done.stdout)
    cases, count = map(int, re.search(r"\nplanted +(\d+) +\d+ +(\d+) ", done.stdout).groups())  # type: ignore[union-attr]
    assert len(falls) == count
    assert 0.2 * cases < count < 0.8 * cases
    assert done.stdout.endswith(f"{cases} cases: {count} wrong\n")
    content, case, fall = falls[-1]
    assert (tmp_path / fall / "file").read_bytes() == bytes.fromhex(content) + bytes([2])  # shrunk to the relevant edit
    again = run(tmp_path, "attack", "--case", case)
    assert again.returncode == 1
    assert f"WRONG  planted ({content}, of which 1 matter)\n" in again.stdout
    assert re.search(rf"\nlooked at: 99, [0-9.]+ s, [0-9]+ MB\nwrong: {content}\n+$", again.stdout)


@pytest.mark.slow
def test_a_fault_of_the_attacks_themselves_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, "attack", "--seconds", "1", "--seed", "7", "--jobs", "1", PLANTED="in the harness")
    assert done.returncode == 1
    assert "ZeroDivisionError: drawn" in done.stderr
    assert "the harness failed in 1 of 1 processes" in done.stdout


def test_what_train_says_when_it_is_stopped_is_no_noise() -> None:
    source = Path(train.__file__).read_text(encoding="utf-8") + Path(signals.__file__).read_text(encoding="utf-8")
    messages = re.findall(r'f"(stop[^"]*)', source)
    assert len(messages) == 4
    for line in messages:
        assert line.startswith(EXPECTED), line
