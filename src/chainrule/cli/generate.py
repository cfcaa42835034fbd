"""`chainrule generate`: continue a text with a trained language model."""

from __future__ import annotations

import shlex
import sys
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import click
import numpy as np

from chainrule.cli.arguments import PathName
from chainrule.cli.output import print_lines, print_text
from chainrule.errors import DataError, RunError, UserError
from chainrule.text import Sampler, decode_stream
from chainrule.text import generate as generate_tokens
from chainrule.training import run as runs
from chainrule.training.image_task import IMAGES
from chainrule.training.text_task import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.models import GPT
    from chainrule.text import Tokenizer
    from chainrule.text.tokens import Tokens
    from chainrule.training.run import Run


@click.command(
    epilog="""\b
Examples:
  chainrule generate
  chainrule generate runs/names --prompt Mar --temperature 0.5
  chainrule generate runs/plays --prompt "HAMLET:" --tokens 1000 --top-k 10 --seed 7"""
)
@click.argument("run", required=False, type=PathName())
@click.option("--prompt", metavar="TEXT", help="The beginning of the text.  [default: a new line]")
@click.option("--tokens", type=int, default=300, show_default=True, help="How many tokens to add.")
@click.option(
    "--temperature",
    type=float,
    default=0.8,
    show_default=True,
    help="Below 1, likely tokens become likelier; 0 always takes the likeliest.",
)
@click.option("--top-k", type=int, metavar="K", help="Choose only among the K likeliest tokens.")
@click.option(
    "--top-p", type=float, metavar="P", help="Choose only among the likeliest tokens that together have probability P."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed; the same seed gives the same text.")
@click.option(
    "--stream/--no-stream", default=None, help="Print each token as it is generated.  [default: in a terminal]"
)
def generate(run: str | None, prompt: str | None, tokens: int, seed: int, stream: bool | None, **settings: Any) -> None:
    """Continue a text, token by token, with a model trained on text.

    RUN is a run's folder, or a folder of runs (the newest is used); by default the newest run in runs/. Only the
    prompt and its continuation are printed.
    """
    if tokens < 1:
        raise UserError(f"the number of tokens must be at least 1, not {tokens:,}")
    if seed < 0:
        raise UserError(f"the seed must be at least 0, not {seed}")
    try:
        sampler = Sampler(**settings)
    except ValueError as error:
        raise UserError(str(error).removeprefix("generate: ")) from None
    trained_run = find_text_run(run)
    pieces = continuation(trained_run, prompt, tokens, sampler, seed)
    if stream is None:
        stream = sys.stdout is not None and sys.stdout.isatty()
    if not stream:
        pieces = iter(["".join(pieces)])
    last_piece = ""
    for piece in pieces:
        print_text(piece)
        last_piece = piece or last_piece
    if not last_piece.endswith("\n"):
        print_lines()


def find_text_run(path: str | None) -> Run:
    """Find a run (see `run.find`), and check that it is a run on text.

    Raises:
        RunError: there is no such run, or it is a run on images or a table.
    """
    run = runs.find(path)
    if run.task is not TEXT:
        kind, example = ("a picture", "IMAGE") if run.task is IMAGES else ("a table", "TABLE")
        raise RunError(
            f"{run.folder}: {run.model.name} reads {run.task.name} and cannot generate text; train a language model "
            f"with: chainrule train --model gpt; for {kind}: chainrule predict {example} --run "
            f"{shlex.quote(str(run.folder))}"
        )
    return run


def continuation(run: Run, prompt: str | None, token_count: int, sampler: Sampler, seed: int) -> Iterator[str]:
    """Return an iterator over a prompt and its continuation by a run's model, in pieces of text.

    Args:
        run: a run of a language model.
        prompt: the beginning; None to begin with a new line (or the tokenizer's first token, if it has no new line),
            which is not in the result.
        token_count: the number of tokens to add.
        sampler: how the tokens are drawn.
        seed: random seed.

    Raises:
        DataError: the prompt has characters that the tokenizer does not have.
        RunError: the prompt is empty or longer than the model's context, or (raised by the iterator) the logits are not
            finite.
    """
    network = cast("GPT", run.load_network())
    tokenizer = TEXT.load_tokenizer(run)
    prompt_tokens = _default_prompt(tokenizer) if prompt is None else tokenizer.encode(prompt, "the prompt")
    if not len(prompt_tokens):
        raise RunError("the prompt is empty; leave out --prompt to begin with a new line")
    if len(prompt_tokens) > network.block_size:
        raise RunError(
            f"the prompt has {len(prompt_tokens):,} tokens, more than the {network.block_size:,} of the model's "
            f"context; shorten it"
        )
    generator = np.random.default_rng(seed)
    tokens = generate_tokens(
        network,
        prompt_tokens.astype(np.int64),
        token_count,
        sampler.temperature,
        sampler.top_k,
        sampler.top_p,
        generator,
    )
    return chain([prompt or ""], _refuse_invalid_logits(run, decode_stream(tokenizer, tokens, prompt_tokens)))


def _default_prompt(tokenizer: Tokenizer) -> Tokens:
    """Return the tokens of the default prompt: a new line or, if the tokenizer has none, its first token."""
    try:
        return tokenizer.encode("\n")
    except DataError:
        return np.zeros(1, np.int64)


def _refuse_invalid_logits(run: Run, pieces: Iterator[str]) -> Iterator[str]:
    """Yield the pieces, and raise a RunError if the logits are not finite (which generation reports as ValueError)."""
    try:
        yield from pieces
    except ValueError as error:
        raise RunError(f"{run.weights_file}: {error}") from None
