"""What the commands print about a run on text."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Any

import click

from chainrule.cli.generate import continuation
from chainrule.cli.output import json_number, print_json, print_lines, terminal_width
from chainrule.errors import shorten
from chainrule.text import Sampler
from chainrule.training.progress import PERPLEXITY_COLUMNS
from chainrule.training.text_task import MAX_WINDOWS, TEXT, block_size

if TYPE_CHECKING:
    from chainrule.text import TextData
    from chainrule.training.run import Run
    from chainrule.training.trainer import Trainer


SAMPLE_TOKENS = 250
"""The number of tokens that are generated after training."""
MAX_SAMPLE_LINES = 8
"""Maximum number of lines of the generated text that are printed."""


class TextReport:
    """Loss per token and perplexity; see `reports.Report`."""

    epoch_table = PERPLEXITY_COLUMNS
    charts: tuple[tuple[str, str, float], ...] = (("validation loss", "validation_loss", 1.0),)
    metric_label = "validation loss"

    def describe_data(self, trainer: Trainer, data: TextData) -> str:
        """Return the number of tokens and of steps per epoch, in words."""
        # An example is a window of block_size tokens and the token after it, so one begins at each token but the last
        # block_size
        token_count = len(trainer.loader.dataset) + block_size(trainer.network)
        vocabulary = f"{data.tokenizer.vocab_size:,} different"
        return f"{token_count:,} training tokens, {vocabulary}; {len(trainer.loader):,} steps per epoch"

    def result_lines(self, run: Run, result: dict[str, Any]) -> list[str]:
        """Return lines with loss and perplexity on the held-out part of the text."""
        return [
            f"validation loss  {result['validation_loss']:.4f} per token",
            f"perplexity       {result['perplexity']:.2f}",
        ]

    def samples(self, run: Run) -> list[str]:
        """Return the first lines of a text that the network generates."""
        text = "".join(continuation(run, None, SAMPLE_TOKENS, Sampler(temperature=0.8), seed=0))
        lines = [line for line in text.split("\n") if line][:MAX_SAMPLE_LINES]
        return ["", "the model writes", *[f"  {shorten(line, terminal_width(100) - 2)}" for line in lines]]

    def next_command(self, run: Run) -> str:
        """Return the command that generates text."""
        return f"chainrule generate {shlex.quote(str(run.folder))}"

    def document(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return loss and perplexity on the held-out part of the text, for the JSON document of `train`."""
        return {name: json_number(result[name]) for name in ("validation_loss", "perplexity")}

    def evaluate(self, run: Run, as_json: bool, confusion: str | None, mistakes: str | None) -> None:
        """Print loss and perplexity on the held-out part of the text."""
        if confusion is not None or mistakes is not None:
            raise click.UsageError(f"--confusion and --mistakes are for images, but {run.folder} is a run on text")
        data = TEXT.load(run)
        if TEXT.changed_part(run, data) is not None:
            print_lines(f"chainrule: {shorten(data.name)} has changed since {run.folder} was created", err=True)
        result = TEXT.evaluate_run(run, data)
        loss, perplexity = result["validation_loss"], result["perplexity"]
        token_count = len(data.validation)
        if as_json:
            print_json(
                {
                    "run": str(run.folder),
                    "loss": loss,
                    "perplexity": json_number(perplexity),
                    "tokens": token_count,  # of the whole part, even if only windows of it are evaluated
                }
            )
            return
        print_lines(
            f"{run.folder}: {run.model.name} on up to {MAX_WINDOWS:,} windows of the validation part of {data.name}, "
            f"which has {token_count:,} tokens"
        )
        print_lines(f"validation loss  {loss:.4f} per token, {loss / math.log(2):.4f} bits")
        print_lines(f"perplexity       {perplexity:.2f}: as uncertain as a guess among {perplexity:.1f} tokens")
