"""JSON and tables."""

from __future__ import annotations

import math

import pytest

from chainrule.cli.output import ascii_only, json_number, print_json, print_table, terminal_width


def test_json_knows_no_nan(capsys):
    print_json({"loss": [json_number(value) for value in (0.5, math.nan, math.inf, -math.inf)]})
    assert "".join(capsys.readouterr().out.split()) == '{"loss":[0.5,null,null,null]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"loss": math.nan})


def test_columns_are_aligned(capsys):
    print_table([("class", "images"), ("ankle boot", "7"), ("bag", "1,000")], right=(1,))
    assert capsys.readouterr().out == "class       images\nankle boot       7\nbag          1,000\n"


def test_lines_have_no_trailing_spaces(capsys):
    print_table([("a", "long cell"), ("b", "")])
    assert capsys.readouterr().out == "a  long cell\nb\n"


@pytest.mark.parametrize(
    ("encoding", "plain"), [("utf-8", False), ("ascii", True), ("latin-1", True), ("nonsense", True), (None, True)]
)
def test_what_the_output_can_show(monkeypatch, encoding, plain):
    class Output:
        def __init__(self):
            self.encoding = encoding

    monkeypatch.setattr("sys.stdout", Output())
    assert ascii_only() is plain


@pytest.mark.parametrize(("columns", "width"), [(None, 62), ("40", 40), ("200", 62), ("0", 62), ("many", 62)])
def test_the_width_of_charts(monkeypatch, columns, width):
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert terminal_width(62) == width
