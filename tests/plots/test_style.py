"""Saving figures, and not changing matplotlib's global state."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import pytest

from chainrule.errors import UserError
from chainrule.plots import style, training

HISTORY = [{"epoch": e, "train_loss": 1 / e, "validation_accuracy": 1 - 0.1 / e} for e in (1, 2, 3)]


def small():
    figure = style.new_figure(2, 1, "small", style.LIGHT)
    figure.add_subplot().plot([1, 2], [3, 4], "o-", label="line")
    return figure


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", b"\x89PNG\r\n"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF"), ("A.PNG", b"\x89PNG\r\n")],
)
def test_the_ending_decides_the_format(tmp_path, name, start):
    style.save(small(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_former_names_of_the_colors_still_work():
    theme = style.Look("#000001", "#000002", "#000003", "#000004", "#000005", "#000006", "#000007", "gray", (0, 1))
    assert isinstance(theme, style.Theme)
    assert [theme.ground, theme.faint, theme.quiet, theme.ink] == ["#000001", "#000002", "#000003", "#000004"]
    assert theme.paper == "gray"


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_figure_has_the_same_bytes(tmp_path, kind, monkeypatch):
    style.save(small(), tmp_path / f"one.{kind}")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")  # where a date would come from, if one were written
    style.save(small(), str(tmp_path / f"two.{kind}"))
    assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


@pytest.mark.parametrize("name", ["curves.jpeg", "curves", ".png"])
def test_another_ending_is_an_error_that_names_the_three(tmp_path, name):
    with pytest.raises(UserError, match=r"use \.png, \.svg or \.pdf"):
        style.save(small(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_an_error_that_names_it(tmp_path):
    with pytest.raises(UserError, match=r"the folder .*nowhere does not exist"):
        style.save(small(), tmp_path / "nowhere" / "curves.png")


def test_a_path_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "curves.png").mkdir()
    with pytest.raises(UserError, match=r"curves\.png: the figure cannot be written \("):
        style.save(small(), tmp_path / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_a_failed_drawing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")
    figure = small()
    monkeypatch.setattr(figure, "savefig", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        style.save(figure, path)
    assert path.read_bytes() == b"old"


def test_settings_are_left_alone_and_have_no_say_in_colors_and_size(tmp_path):
    plain = training.curves(HISTORY, dark=True)
    style.save(plain, tmp_path / "plain.png")
    colors = ("figure.facecolor", "axes.facecolor", "text.color", "axes.labelcolor", "savefig.facecolor")
    reader = dict.fromkeys(colors, "red") | {"savefig.bbox": "tight", "savefig.dpi": 30, "xtick.labelsize": 30}
    with mpl.rc_context(reader):
        before = dict(mpl.rcParams)
        style.save(training.curves(HISTORY, dark=True), tmp_path / "own.png")
        assert dict(mpl.rcParams) == before
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_no_pyplot_no_window_and_no_matplotlib_for_the_terminal():
    code = """
import sys, chainrule.plots.text
assert "matplotlib" not in sys.modules
from chainrule.plots import evaluation, pictures, style, training
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
