"""`chainrule check`: exercises, hints, and verdicts with their exit codes."""

from __future__ import annotations

import re

import pytest

from chainrule import exercises, lessons
from chainrule.exercises.checking import exercises_of


def test_lists_the_lessons_with_exercises(command):
    done = command("check")
    assert (done.code, done.err) == (0, "")
    head, *rows, empty, hint = done.out.splitlines()
    assert head.split() == ["lesson", "key", "exercises"]
    assert [re.split(r"\s{2,}", row.strip()) for row in rows] == [
        [str(lesson.number), lesson.title, lesson.key, str(len(exercises_of(lesson)))]
        for lesson in lessons.available()
        if exercises_of(lesson)
    ]
    assert (empty, hint) == ("", "List the exercises of one lesson by its number or key: chainrule check 18")


def words(text):
    return " ".join(text.split())


def test_shows_the_exercises_of_a_lesson_and_one(command):
    number = lessons.find("dead-neurons").number
    done = command("check", "dead-neurons")
    assert (done.code, done.err) == (0, "")
    for position in range(1, len(exercises_of(lessons.find("dead-neurons"))) + 1):
        question = exercises.question(f"dead-neurons.{position}")
        assert words(f"{number}.{position} {question}") in words(done.out)
    assert command("check", number).out == done.out
    assert "Left of zero it is" not in done.out
    one = command("check", "dead-neurons.1")
    assert words(one.out).endswith("The answer is a number. chainrule check dead-neurons.1 ANSWER, or --hint")
    assert (one.code, one.err) == (0, "")


@pytest.mark.parametrize(
    "answer", [["-0.5"], ["-1/2"], ["-", "0.5"], ["--", "-0.5"], ["-.5"], ["0.1 * (-5)"]], ids=" ".join
)
def test_a_right_answer(command, answer):
    done = command("check", "dead-neurons.1", *answer)
    assert (done.code, done.out, done.err) == (0, "Right.\n", "")


def test_a_wrong_answer_has_exit_code_1(command):
    done = command("check", "dead-neurons.1", "0.5")
    assert (done.code, done.err) == (1, "")
    assert done.out == "The size is right, but the sign is the other way round.\n"


def test_hints_and_the_answer(command):
    assert command("check", "dead-neurons.2", "--hint").out == "Each error is multiplied by the slope at its z.\n"
    assert command("check", "dead-neurons.2", "--hint", "--hint").out.splitlines() == [
        "Each error is multiplied by the slope at its z.",
        "The slope is 0 or 1.",
    ]
    done = command("check", "dead-neurons.2", "--hint", "--hint", "--hint")
    assert (done.code, done.err) == (2, "chainrule: exercise dead-neurons.2 has 2 hints, and no hint 3\n")
    assert command("check", "dead-neurons.2", "--answer").out == "0.4 times 0, 1 and 1: [0, 0.4, 0.4].\n"


def test_a_program_in_a_file(command, here):
    (here / "my.py").write_text("def silent(z):\n    print('tried')\n    return [max(column) <= 0 for column in z.T]\n")
    done = command("check", "dead-neurons.4", "my.py")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "Right."
    (here / "my.py").write_text("def silent(z):\n    return z.max(axis=0) > 0\n")
    done = command("check", "dead-neurons.4", "my.py")
    assert (done.code, done.out) == (1, "Those are the neurons that are awake.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0.5"], "there is no lesson 0; choose one from 1 to "),
        (["dead-neurons", "0.5"], "give the lesson and the number of an exercise, such as 18.1"),
        (["--hint"], "give the lesson and the number of an exercise, such as 18.1"),
        (["dead-neurons.1", "3", "--hint"], "--hint and --answer cannot be combined with an answer"),
        (["dead-neurons.1", "--hnt"], "no such option"),
        (["dead-neurons.1", ""], "the answer is empty"),
        (["dead-neurons.1", "import os"], "cannot read the answer 'import os' as arithmetic"),
        (["dead-neurons.4", "none.py"], "none.py: there is no such file; it should define the function silent"),
        (["dead-neurons.4", "z > 0"], "this exercise asks for a function silent(z), in a Python file"),
        (["dead-neurons.9"], "there is no exercise dead-neurons.9: lesson 18 has exercises 1 to 4"),
        (["dead-neurones"], "there is no lesson 'dead-neurones'; did you mean dead-neurons"),
        (["dead-neurons.1", "\x1b[31m"], "cannot read the answer"),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_sentence(command, here, arguments, message):
    done = command("check", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err or message in done.err.lower()
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err
    assert list(here.iterdir()) == []
