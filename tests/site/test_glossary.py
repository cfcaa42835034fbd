"""The glossary: every word that a lesson explains has an entry, which names the lesson, and is linked from there."""

from __future__ import annotations

import re

import pytest

from chainrule import lessons

from .test_site import SITE, pages

LESSONS = lessons.available()
GLOSSARY = (SITE.parent / "glossary.md").read_text(encoding="utf-8")


def test_its_entries_are_in_order_and_say_something():
    terms = pages.glossary_terms()
    assert len(terms) > 60
    assert terms == sorted(terms, key=str.casefold)
    assert len({term.casefold() for term in terms}) == len(terms)
    for term, text in re.findall(r"^## (.+)\n\n((?:(?!## ).*\n)+)", GLOSSARY, re.MULTILINE):
        assert text.strip().endswith("."), term
        assert len(text.split()) >= 4, term


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.key)
def test_every_new_word_of_a_lesson_is_in_it(lesson):
    entries = {term.casefold() for term in pages.glossary_terms()}
    words = pages.new_terms(lesson.file.read_text(encoding="utf-8"))
    assert [word for word in words if word.casefold() not in entries] == [], "add them to docs/glossary.md"


def test_each_entry_names_the_lesson_that_explains_it_first():
    text = pages._glossary(GLOSSARY)
    entries = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n?)+)", text, re.MULTILINE))
    assert list(entries) == pages.glossary_terms()
    for term, entry in entries.items():
        ((title, key),) = re.findall(r"First in \[(.+)\]\(\.\./lessons/([a-z-]+)\.rst\)\.", entry)
        lesson = lessons.find(key)
        assert title == f"{lesson.number}. {lesson.title}"
        assert term.casefold() in pages.prose(lesson.file.read_text(encoding="utf-8")).casefold()
    assert "lessons/neurons.rst" in entries["weight"]
    assert "lessons/the-perceptron.rst" in entries["hidden layer"]


def test_words_are_linked_where_they_are_explained():
    source = '"""A **Weight** here.\n\nAnd an **unknown word**, ``a**b``."""\n# The **hidden\n# layer** too.\nx = y**2 + z**2\n'
    assert pages._link_terms(source) == (
        '"""A `Weight <../pages/glossary.html#weight>`__ here.\n\nAnd an **unknown word**, ``a**b``."""\n'
        "# The `hidden layer <../pages/glossary.html#hidden-layer>`__ too.\nx = y**2 + z**2\n"
    )
