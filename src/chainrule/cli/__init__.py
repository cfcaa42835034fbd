"""The `chainrule` command: its subcommands by module, shared error handling, and exit codes.

Exit codes: 0 success; 2 user error (one sentence, no traceback); 1 internal error, not enough memory, or a wrong answer
to `check`; 130 Ctrl-C; 141 broken output pipe (as in `chainrule runs | head -1`). `train` and `sweep` save their state
before they exit on Ctrl-C, SIGTERM (exit code 143) or SIGHUP (129).
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from chainrule import __version__
from chainrule.cli.output import MAX_MESSAGE, print_lines
from chainrule.cli.signals import preserve_keyboard_interrupt
from chainrule.console import replace_unencodable
from chainrule.errors import UserError, shorten

COMMANDS = {  # name: (module in chainrule.cli, summary)
    "train": ("train", "Train a model and save it as a run."),
    "sweep": ("sweep", "Search for good settings by training many runs."),
    "evaluate": ("evaluate", "Evaluate a trained model."),
    "predict": ("predict", "Recognize digits, or predict the rows of a table."),
    "generate": ("generate", "Continue a text with a model trained on text."),
    "say": ("sentence", "Complete a sentence with a small language model."),
    "lesson": ("lesson", "List the lessons, or read and run one."),
    "check": ("check", "Check an answer to an exercise of a lesson."),
    "read": ("read", "Read every digit in a photo of a page."),
    "export": ("export", "Write a model as a file that runs without chainrule."),
    "profile": ("profile", "Measure a training step by layer and by stage."),
    "models": ("listings", "List the available models, or describe one."),
    "data": ("listings", "List the data sets."),
    "runs": ("runs", "List and compare the runs, newest last."),
    "studio": ("studio", "Draw a digit and watch a network read it, in the browser."),
    "play": ("studio", "Build a small network and watch it learn, in the browser."),
    "docs": ("docs", "Open the website: lessons, guides and the reference."),
    "completion": ("listings", "Print a shell completion script."),
}


class _Commands(click.Group):
    """Imports a subcommand's module only when it is used, to keep `chainrule --help` fast."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"chainrule.cli.{COMMANDS[name][0]}"), name)
        return command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, arguments)
        except click.UsageError:
            if arguments[0].startswith("-"):
                raise
            similar_names = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
            hint = f"did you mean '{similar_names[0]}'?" if similar_names else f"choose from {', '.join(COMMANDS)}"
            context.fail(f"no such command '{arguments[0]}'; {hint}")

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  chainrule train                        learn to read handwritten digits, in seconds
  chainrule evaluate --mistakes m.png    measure its accuracy and draw its mistakes
  chainrule predict photo.jpg            recognize a digit
  chainrule say "i am going to the"      complete a sentence""",
)
@click.version_option(__version__, message="chainrule %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Neural networks that you can read: train one on images, a text or a table, evaluate it, use it."""
    # Figures go to files, and an invalid backend would make the import of matplotlib fail; `lesson --show` restores it.
    context.obj = os.environ.pop("MPLBACKEND", None)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and exit with its exit code."""
    try:
        replace_unencodable()
        warnings.showwarning = _warn
        with preserve_keyboard_interrupt():
            code = cli.main(arguments, prog_name="chainrule", standalone_mode=False)
    except click.ClickException as error:
        if not _is_above_rank_zero():
            _report(_usage_message(error))
            context = getattr(error, "ctx", None)
            _print_error(f"Try '{context.command_path if context else 'chainrule'} --help'")
        code = 2
    except UserError as error:
        code = _report(str(error))
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except SystemExit as error:  # raised by click: 0 after shell completion, 1 on a closed pipe
        code = 141 if error.code else 0
    except OSError as error:
        reason = error.strerror or str(error)
        code = _report(f"{error.filename}: {reason}" if error.filename else reason)
    except MemoryError as error:
        code = _report(f"not enough memory{f' ({error})' if str(error) else ''}", code=1)
    except Exception:
        _print_error(*traceback.format_exc().removesuffix("\n").split("\n"))
        code = _report("internal error; please report it with the traceback above", code=1)
    try:
        _end_ranks(code or 0)
    except KeyboardInterrupt:
        code = 130
    output_code = _flush_output()
    sys.exit(code or output_code)


def _flush_output() -> int:
    """Flush standard output and error, and return the exit code: 0; 2 or 141 if that fails; 130 after an interrupt.

    What cannot be written is discarded: Python would try again at its end, fail, and exit with code 120. An interrupt
    may come while the reader of a full pipe does not read.
    """
    code = 0
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except (OSError, KeyboardInterrupt) as error:
            code = {BrokenPipeError: 141, KeyboardInterrupt: 130}.get(type(error), 2)
            with suppress(OSError), Path(os.devnull).open("wb") as null:
                os.dup2(null.fileno(), stream.fileno())
    return code


def _usage_message(error: click.ClickException) -> str:
    """Return click's message as one line that begins in lower case and has no period, like other errors."""
    message = " ".join(error.format_message().split()).removesuffix(".")
    return message[:1].lower() + message[1:]


def _is_above_rank_zero() -> bool:
    """Whether this is an MPI rank above 0. All ranks have the same arguments; only rank 0 reports errors in them."""
    from chainrule.distributed.launcher import launched_rank  # imports the engine; only errors pay for it

    return launched_rank() > 0


def _end_ranks(code: int) -> None:
    """End the other ranks after an error on rank 0, which they may not have noticed."""
    module = sys.modules.get("chainrule.distributed.world")  # not imported by every command
    if not code or module is None:
        return
    was_created = module.world.cache_info().currsize > 0  # calling `world` would start MPI
    if was_created and module.world().rank == 0:
        module.world().leave(code)


_show_warning = warnings.showwarning


def _warn(message: Warning | str, category: type[Warning], *location: Any, **options: Any) -> None:
    """Print a UserWarning as one sentence, any other warning in Python's format."""
    if issubclass(category, UserWarning):
        _print_error(f"chainrule: {shorten(str(message), MAX_MESSAGE)}")
    else:
        _show_warning(message, category, *location, **options)


def _report(message: str, code: int = 2) -> int:
    """Print an error message and return the exit code."""
    _print_error(f"chainrule: {shorten(message, MAX_MESSAGE)}")
    return code


def _print_error(*lines: str) -> None:
    """Print to standard error, ignoring a full disk or a closed pipe: the exit code still reports the error."""
    with suppress(OSError):
        print_lines(*lines, err=True)
