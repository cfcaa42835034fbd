"""benchmarks/large_data.py with 300 MB instead of 20 GB: training does not copy its data set, in either format."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "large_data.py"
LIMIT = 100  # 10⁶ bytes of anonymous memory, libraries included: a third of the images

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured on Linux")


def run(tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--folder", str(tmp_path), "--limit", str(LIMIT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("kind", ["npy", "idx"])
def test_training_takes_a_fraction_of_the_data_in_memory(tmp_path, kind):
    done = run(tmp_path, "--gigabytes", 0.3, "--steps", 20, "--kind", kind, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["bytes"] == pytest.approx(300e6, rel=1e-5)
    assert result["bytes_on_disk"] < 30e6
    assert result["mapped_peak"] > 250e6  # the checksums have read all pages
    assert 5e6 < result["anonymous_before"] <= result["anonymous_peak"] < LIMIT * 1e6
    assert "shuffle, 20 steps, checkpoint" in result["seconds"]
    assert list(tmp_path.iterdir()) == []


def test_memory_beyond_the_limit_is_a_failure(tmp_path):
    done = run(tmp_path, "--gigabytes", 0.01, "--steps", 1, "--limit", 1)
    assert done.returncode == 1
    assert "MB, more than 1 MB" in done.stderr
