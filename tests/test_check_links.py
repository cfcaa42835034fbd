"""The check of the links inside a built web site, scripts/check_links.py."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "scripts" / "check_links.py"


def check(folder):
    """The exit code of the script, and the lines that it prints."""
    done = subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_links_without_a_target_are_listed(tmp_path):
    (tmp_path / "guide").mkdir()
    (tmp_path / "index.html").write_text('<h1 id="a">A</h1><a href="#a"></a><a href="guide/"></a><img src="no.png">')
    (tmp_path / "guide" / "index.html").write_text('<a href="../index.html#b"></a><a href="https://example.org/x"></a>')
    assert check(tmp_path) == (
        1,
        [
            "guide/index.html: ../index.html#b: the page has no such anchor",
            "index.html: no.png does not exist",
        ],
    )
    (tmp_path / "no.png").touch()
    (tmp_path / "guide" / "index.html").write_text('<a href="../index.html#a"></a>')
    assert check(tmp_path) == (0, ["every link inside the site has a target"])


def test_a_folder_without_pages_is_refused(tmp_path):
    assert check(tmp_path) == (1, [f"{tmp_path.resolve()} has no pages"])
