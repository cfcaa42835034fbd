"""The `chainrule` command: one subcommand a file, and what all of them share: how they end.

It exits with 0 if all went well, 2 on a mistake that the user can mend (one sentence, no traceback), 1 on a fault of
ours, 130 on Ctrl-C, 141 if whoever read its output has seen enough (as in `chainrule runs | head -1`). `train` saves
before it exits with 130, and so it does with 143 on SIGTERM and with 129 on SIGHUP.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
import warnings
from contextlib import suppress
from typing import Any

import click

from chainrule import __version__
from chainrule.cli.output import LONGEST, say
from chainrule.cli.signals import keep_interrupt
from chainrule.console import replace_unencodable
from chainrule.errors import UserError, shortened

COMMANDS = {  # name: (module below chainrule.cli, what it does)
    "train": ("train", "Train a model and keep it as a run."),
    "evaluate": ("evaluate", "Judge a trained model by the test images."),
    "predict": ("predict", "Read the digit in each picture."),
    "lesson": ("lesson", "List the lessons, or run one: from one neuron to the next word."),
    "read": ("read", "Read every digit in a photo of a page."),
    "models": ("listings", "List the models that can be trained."),
    "data": ("listings", "List the data sets."),
    "runs": ("listings", "List the runs, the newest last."),
    "completion": ("listings", "Print a script that completes commands in a shell."),
}


class _Commands(click.Group):
    """Loads a subcommand's module only when it is used, so that `chainrule --help` answers at once."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"chainrule.cli.{COMMANDS[name][0]}"), name)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  chainrule train                        learn to read handwritten digits, in seconds
  chainrule evaluate --mistakes m.png    how good is it, and what does it get wrong?
  chainrule predict photo.jpg            which digit is this?""",
)
@click.version_option(__version__, message="chainrule %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Neural networks that you can read: train one on handwritten digits, judge it, use it."""
    # Figures go to files; matplotlib refuses to be imported if this is misspelled. `lesson --show` alone takes it back.
    context.obj = os.environ.pop("MPLBACKEND", None)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command and exit with its code."""
    replace_unencodable()
    warnings.showwarning = _warn
    try:
        with keep_interrupt():
            code = cli.main(arguments, prog_name="chainrule", standalone_mode=False)
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        _tell(*text.getvalue().removesuffix("\n").expandtabs(4).split("\n"))
        code = 2
    except UserError as error:
        code = _complain(str(error))
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except SystemExit as end:  # click's own: 0 when it has completed a word for a shell, 1 when a pipe was closed
        code = 141 if end.code else 0
    except OSError as error:
        reason = error.strerror or str(error)
        code = _complain(f"{error.filename}: {reason}" if error.filename else reason)
    except MemoryError as error:
        code = _complain(f"there is not enough memory{f' ({error})' if str(error) else ''}", code=1)
    except Exception:  # the last resort: show all of it
        _tell(*traceback.format_exc().removesuffix("\n").split("\n"))
        code = _complain("this is a fault of chainrule's own, please report it with the lines above", code=1)
    sys.exit(code or 0)


_show_warning = warnings.showwarning


def _warn(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """Show a warning that is meant for the user as a sentence, any other as Python does."""
    if issubclass(category, UserWarning):
        _tell(f"chainrule: {shortened(str(message), LONGEST)}")
    else:
        _show_warning(message, category, *place, **more)


def _complain(sentence: str, code: int = 2) -> int:
    _tell(f"chainrule: {shortened(sentence, LONGEST)}")
    return code


def _tell(*lines: str) -> None:
    """Print to standard error; where that is on a full disk or a closed pipe, the exit code has to be enough."""
    with suppress(OSError):
        say(*lines, err=True)
