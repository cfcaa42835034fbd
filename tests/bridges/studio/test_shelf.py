"""The studio opens what was named at its start, and nothing else."""

from __future__ import annotations

import os
import shutil

import pytest

pytest.importorskip("starlette", reason="the studio's libraries are not installed: pip install '.[studio]'")

from chainrule.errors import RunError
from chainrule.studio.shelf import KEPT, MAX_FILES, SHIPPED, Shelf
from chainrule.training import run as runs


def copy_of_shipped(folder):
    shutil.copytree(runs.SHIPPED, folder)
    return runs.Run(folder)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs"


def test_runs_by_name(folder, tmp_path):
    assert Shelf(folder).runs() == [SHIPPED]
    assert Shelf(folder).run(SHIPPED).folder == runs.SHIPPED
    one, other = copy_of_shipped(folder / "one"), copy_of_shipped(tmp_path / "other")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "config.json").write_text("{")
    shelf = Shelf(folder, other)
    assert shelf.runs() == ["other", "one", SHIPPED]
    assert (shelf.chosen, Shelf(folder).chosen) == ("other", SHIPPED)
    assert shelf.run("one").folder == one.folder
    assert shelf.run("other").folder == other.folder
    for name in ("none", "../other", str(one.folder), "", ".", "..", None, 3, ["one"]):
        with pytest.raises(RunError, match="no run of this name"):
            shelf.run(name)
    with pytest.raises(RunError, match="is not JSON"):
        shelf.run("damaged")


def test_the_oldest_texts_make_room(folder):
    shelf = Shelf(folder)
    keys = [shelf.keep(str(number)) for number in range(MAX_FILES)]
    os.utime(folder / KEPT / f"{keys[5]}.txt", (0, 0))
    shelf.keep("one more")
    files = {file.stem for file in (folder / KEPT).iterdir()}
    assert files == {*keys} - {keys[5]} | {shelf.keep("one more")}
