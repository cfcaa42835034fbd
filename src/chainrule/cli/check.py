"""`chainrule check`: print the exercises of the lessons and their hints, and check answers."""

from __future__ import annotations

import textwrap

import click

from chainrule.cli.output import print_lines, print_table, terminal_width
from chainrule.errors import UserError

WRONG_ANSWER = 1
"""The exit code after a wrong answer."""


@click.command(
    context_settings={"ignore_unknown_options": True},  # an answer may begin with a minus
    epilog="""\b
Examples:
  chainrule check                              how many exercises each lesson has
  chainrule check 18                           the exercises of lesson 18
  chainrule check dead-neurons                 the same, by the lesson's key
  chainrule check 18.1                         one exercise
  chainrule check 18.1 -0.5                    is this right?
  chainrule check 18.1 --hint --hint           the first two hints
  chainrule check why-it-is-fast.3 my.py       check a program: a file that defines the function""",
)
@click.argument("exercise", required=False)
@click.argument("answer", nargs=-1)
@click.option("--hint", "hints", count=True, help="Show the first hint; repeat it to see more.")
@click.option("--answer", "show_answer", is_flag=True, help="Show the answer and how to find it.")
@click.pass_context
def check(context: click.Context, exercise: str | None, answer: tuple[str, ...], hints: int, show_answer: bool) -> None:
    """Check an answer to an exercise: say whether it is right or, if not, what kind of mistake it is.

    EXERCISE is a lesson and a number, such as 18.1 or dead-neurons.1; a lesson alone lists its exercises. ANSWER is a
    number, arithmetic such as 1/4, an array such as "[[1, 2], [3, 4]]", a formula such as "2*x*(1 - x)", or a word.
    Quote it if the shell would change it. It is read as text and never executed, unless it names a file that ends in
    .py: your own program, which is run. The exit code is 1 if the answer is wrong.
    """
    from chainrule import exercises  # imported here to keep --help fast

    text = " ".join(answer)
    if text.startswith("--"):  # an unknown option, which click passes on as an answer
        raise click.NoSuchOption(text.split()[0])
    if exercise is None or "." not in exercise:
        if text or hints or show_answer:
            raise click.UsageError("give the lesson and the number of an exercise, such as 18.1")
        _list(exercise)
        return
    if text and (hints or show_answer):
        raise click.UsageError("--hint and --answer cannot be combined with an ANSWER")
    if show_answer:
        _print(exercises.solution(exercise))
    elif hints:
        for number in range(1, hints + 1):
            _print(exercises.hint(exercise, number))
    elif answer:
        verdict = exercises.check(exercise, text)
        _print(str(verdict))
        if not verdict:
            context.exit(WRONG_ANSWER)
    else:
        _print(exercises.question(exercise))
        print_lines("", f"chainrule check {exercise} ANSWER, or --hint")


def _list(lesson_name: str | None) -> None:
    """List the exercises of a lesson or, if it is None, the lessons that have exercises."""
    from chainrule import exercises, lessons
    from chainrule.exercises.checking import exercises_of

    if lesson_name is None:
        counts = [(lesson, len(exercises_of(lesson))) for lesson in lessons.available()]
        rows = [(str(lesson.number), lesson.title, lesson.key, str(count)) for lesson, count in counts if count]
        print_table([("", "lesson", "key", "exercises"), *rows], right=[0, 3])
        print_lines("", "List the exercises of one lesson by its number or key: chainrule check 18")
        return
    lesson = lessons.find(lesson_name)
    count = len(exercises_of(lesson))
    if not count:
        raise UserError(f"lesson {lesson.number} has no exercises")
    print_lines(f"{lesson.number}. {lesson.title}", bold=True)
    for number in range(1, count + 1):
        print_lines("", f"{lesson.number}.{number}")
        _print(exercises.question(f"{lesson.key}.{number}"))


def _print(text: str) -> None:
    """Print a text's paragraphs, wrapped to the width of the terminal."""
    for paragraph in text.split("\n\n"):
        print_lines(*(textwrap.wrap(paragraph, terminal_width(100)) or [""]))
