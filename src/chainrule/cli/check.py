"""`chainrule check`: the exercises of the lessons, with hints, and whether an answer is right."""

from __future__ import annotations

import textwrap

import click

from chainrule.cli.output import print_lines, print_table, terminal_width
from chainrule.errors import UserError

WRONG = 1
"""Exit code of a wrong answer."""


@click.command(
    context_settings={"ignore_unknown_options": True},  # an answer may begin with a minus
    epilog="""\b
Examples:
  chainrule check                              how many exercises each lesson has
  chainrule check 18                           the exercises of lesson 18
  chainrule check dead-neurons                 the same by its key
  chainrule check 18.1                         one exercise
  chainrule check 18.1 -0.5                    is this right?
  chainrule check 18.1 --hint --hint           the first two hints
  chainrule check why-it-is-fast.3 my.py       a program: a file that defines the function""",
)
@click.argument("exercise", required=False)
@click.argument("answer", nargs=-1)
@click.option("--hint", "hints", count=True, help="Show a hint; twice: the next one as well.")
@click.option("--answer", "show_answer", is_flag=True, help="Show the answer and the way to it.")
@click.pass_context
def check(context: click.Context, exercise: str | None, answer: tuple[str, ...], hints: int, show_answer: bool) -> None:
    """Say whether ANSWER to an exercise is right, or what kind of mistake it is.

    EXERCISE is lesson and position, such as 18.1 or dead-neurons.1. The answer is a number, arithmetic such as 1/4, an
    array such as "[[1, 2], [3, 4]]", a formula such as "2*x*(1 - x)", or a word, in quotes if the shell would change
    it. It is read as text and never executed, unless it names a file that ends in .py: your own program, which is run.
    A wrong answer has exit code 1.
    """
    from chainrule import exercises  # imported here to keep --help fast

    text = " ".join(answer)
    if text.startswith("--"):
        raise click.NoSuchOption(text.split()[0])
    if exercise is None or "." not in exercise:
        if text or hints or show_answer:
            raise click.UsageError("give lesson and number of an exercise, such as 18.1")
        _list(exercise)
        return
    if text and (hints or show_answer):
        raise click.UsageError("--hint and --answer go without an ANSWER")
    if show_answer:
        _print(exercises.solution(exercise))
    elif hints:
        for number in range(1, hints + 1):
            _print(exercises.hint(exercise, number))
    elif answer:
        verdict = exercises.check(exercise, text)
        _print(str(verdict))
        if not verdict:
            context.exit(WRONG)
    else:
        _print(exercises.question(exercise))
        print_lines("", f"chainrule check {exercise} ANSWER, or --hint")


def _list(name: str | None) -> None:
    """List the exercises of a lesson, or the lessons that have some."""
    from chainrule import exercises, lessons
    from chainrule.exercises.checking import exercises_of

    if name is None:
        entries = [(lesson, len(exercises_of(lesson))) for lesson in lessons.available()]
        rows = [(str(lesson.number), lesson.title, lesson.key, str(count)) for lesson, count in entries if count]
        print_table([("", "lesson", "key", "exercises"), *rows], right=[0, 3])
        print_lines("", "Show those of one lesson by its number or key: chainrule check 18")
        return
    lesson = lessons.find(name)
    count = len(exercises_of(lesson))
    if not count:
        raise UserError(f"lesson {lesson.number} has no exercises")
    print_lines(f"{lesson.number}. {lesson.title}", bold=True)
    for position in range(1, count + 1):
        print_lines("", f"{lesson.number}.{position}")
        _print(exercises.question(f"{lesson.key}.{position}"))


def _print(text: str) -> None:
    """Print a text of paragraphs, wrapped to the terminal."""
    for paragraph in text.split("\n\n"):
        print_lines(*(textwrap.wrap(paragraph, terminal_width(100)) or [""]))
