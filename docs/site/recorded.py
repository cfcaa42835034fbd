"""Records the studio's view Next word for a page of the site: its module, its style, and what its Python side answers.

The page has no server: `static/studio.js` answers the view from this record and, once the reader loads Python, from the
same Python side in the browser (`live.py`).
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from browser_package import FOLDER

from chainrule.studio.bundle import STATIC, bundle, style
from chainrule.studio.shelf import Shelf
from chainrule.studio.words import LESSON, WORDS, Words

if TYPE_CHECKING:
    from collections.abc import Iterator

VIEW = "words"
SEEDS, SECOND_CHOICES = 4, 1
TEMPERATURES = [number / 10 for number in range(21)]

Answers = dict[str, list[Any]]


def write() -> Path:
    """Write `studio/words.js` for the site."""
    file = FOLDER / "studio" / f"{VIEW}.js"
    file.parent.mkdir(parents=True, exist_ok=True)
    record = {"view": VIEW, "module": bundle(VIEW), "style": style(VIEW), "answers": answers()}
    file.write_text(f"window.studioRecord = {json.dumps(record, ensure_ascii=False)};\n", encoding="utf-8")
    return file


def answers(examples: list[str] | None = None) -> Answers:
    """The answers by their question: the beginnings of the page, and where its buttons lead from there.

    Each is the message and its buffer in base64; a question is `[model, text, temperature, seed]` as JSON.
    """
    words = Words(Shelf(Path("there are no runs")))
    recorded: Answers = {json.dumps(["models"]): _pack(*words.answer({"ask": "models"}, []) or ({}, []))}
    for model, text, temperature, seed in _questions(words, examples or _examples()):
        recorded[key(model, text, temperature, seed)] = _ask(words, model, text, temperature, seed)
    return recorded


def key(model: str, text: str, temperature: float, seed: int) -> str:
    """A question as the page writes it: 1.0 is 1 there."""
    number = int(temperature) if temperature == int(temperature) else temperature
    return json.dumps([model, text, number, seed], ensure_ascii=False, separators=(",", ":"))


def _examples() -> list[str]:
    """The beginnings that the view offers."""
    source = (STATIC / "views" / f"{VIEW}.js").read_text(encoding="utf-8")
    match = re.search(r"const EXAMPLES = \[(.*?)\];", source, re.DOTALL)
    return re.findall(r'"([^"]+)"', match[1] if match else "")


def _questions(words: Words, examples: list[str]) -> Iterator[tuple[str, str, float, int]]:
    """What a reader can ask by the page's buttons alone, up to a few steps."""
    for text in examples:
        yield LESSON, text, 1.0, 0
        yield from ((WORDS, text, temperature, 0) for temperature in TEMPERATURES)
        for seed in range(SEEDS + 1):
            yield WORDS, text, 1.0, seed
            goes_on = _ask(words, WORDS, text, 1.0, seed)[0]["continuation"]
            yield WORDS, text + goes_on, 1.0, seed  # "Write that"
            yield WORDS, text + re.match(r"\s*(?:[^\s.,;:!?]+|[.,;:!?]|\n)", goes_on)[0], 1.0, seed + 1  # type: ignore[index]
        pieces = _ask(words, WORDS, text, 1.0, 0)[0]["pieces"]
        yield from ((WORDS, text + piece, 1.0, 0) for piece in pieces)
        for piece in pieces[:SECOND_CHOICES]:
            more = _ask(words, WORDS, text + piece, 1.0, 0)[0]["pieces"]
            yield from ((WORDS, text + piece + other, 1.0, 0) for other in more)


def _ask(words: Words, model: str, text: str, temperature: float, seed: int) -> list[Any]:
    question = {"ask": "read", "number": 0, "model": model, "text": text, "temperature": temperature, "seed": seed}
    return _pack(*words.answer(question, []) or ({}, []))


def _pack(content: dict[str, Any], buffers: list[bytes]) -> list[Any]:
    return [content, *(base64.b64encode(buffer).decode() for buffer in buffers)]
