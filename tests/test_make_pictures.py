"""The script that draws the README's picture."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parent.parent / "scripts" / "make_pictures.py"


def test_the_readmes_picture_is_drawn_and_read_right(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("make_pictures", FILE)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    picture = tmp_path / "explain.png"
    with pytest.raises(SystemExit) as end:
        script.explain(picture)
    assert not end.value.code
    assert "photo.png: 5  (" in capsys.readouterr().out  # what the strokes draw
    assert picture.read_bytes().startswith(b"\x89PNG")
