"""What the page with the view Next word answers from is what the studio's Python side says."""

from __future__ import annotations

import base64
import importlib
import json
from pathlib import Path

import pytest

from chainrule.studio.shelf import Shelf
from chainrule.studio.words import Words

SITE = Path(__file__).parents[2] / "docs" / "site"


@pytest.fixture
def site(monkeypatch):
    """Imports a module of the site."""
    monkeypatch.syspath_prepend(str(SITE))
    return importlib.import_module


def test_the_record_holds_the_studios_answers(site):
    text = "He sat on the bank of the"
    answers = site("recorded").answers([text])
    words = Words(Shelf(Path("none")))
    assert answers['["models"]'] == [words.answer({"ask": "models"}, [])[0]]
    content, (weights,) = words.answer(
        {"ask": "read", "number": 0, "model": "shipped_words", "text": text, "temperature": 0.3, "seed": 0}, []
    )
    recorded, buffer = answers[f'["shipped_words","{text}",0.3,0]']  # as JSON.stringify writes the question
    assert recorded == json.loads(json.dumps(content))
    assert base64.b64decode(buffer) == weights
    start = answers[f'["shipped_words","{text}",1,0]'][0]
    for piece in start["pieces"]:
        assert f'["shipped_words",{json.dumps(text + piece)},1,0]' in answers
    assert f'["shipped_words",{json.dumps(text + start["continuation"])},1,0]' in answers
    assert len(answers[f'["lesson","{text}",1,0]']) == 1  # no attention


def test_the_beginnings_are_those_of_the_view(site):
    examples = site("recorded")._examples()
    assert len(examples) == 3
    assert examples[0] == "I am going to the bank to deposit some"


def test_what_answers_in_the_browser(site):
    question = {"ask": "read", "number": 3, "model": "shipped_words", "text": "we", "temperature": 1, "seed": 0}
    text, buffers = site("live").answer("words", json.dumps(question))
    expected, weights = Words(Shelf(Path("none"))).answer(question, [])
    assert json.loads(text) == json.loads(json.dumps(expected))
    assert buffers == weights
    assert "error" in json.loads(site("live").answer("words", json.dumps({"ask": "nothing"}))[0])
