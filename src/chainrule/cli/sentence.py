"""`chainrule say`: complete a sentence with the small language model of a lesson."""

from __future__ import annotations

import click

from chainrule.cli.output import ascii_only, print_json, print_lines, terminal_width
from chainrule.errors import UserError

_MAX_WORDS = 20
"""Maximum number of words that are added to a beginning."""

_SENTENCE_COUNT = 5
"""The number of sentences that are generated without a beginning."""


@click.command(
    epilog="""\b
Examples:
  chainrule say "i am going to the bank to"
  chainrule say "she went to the bakery to buy some" --temperature 0.7 --seed 3
  chainrule say                                      generate a few sentences"""
)
@click.argument("words", nargs=-1, metavar="[TEXT]...")
@click.option(
    "--temperature",
    type=float,
    help="Draw words at random; 0 always takes the likeliest.  [default: 0; 0.6 without TEXT]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def say(words: tuple[str, ...], temperature: float | None, seed: int, as_json: bool) -> None:
    """Complete a sentence, word by word, and show what the model expects next.

    The model is that of the lesson the-next-word, about 200 lines of NumPy. Whenever this command runs, the model is
    trained on about 380 everyday sentences, in about a second; it knows only their words. To see how it works:
    chainrule lesson the-next-word, or python -m chainrule.first_principles.language.
    """
    if temperature is not None and not temperature >= 0:
        raise UserError(f"the temperature must be at least 0, not {temperature}; 0 takes the likeliest word")
    if seed < 0:
        raise UserError(f"the seed must be at least 0, not {seed}")
    from chainrule.first_principles.language import END, split, train_model  # imported only if used

    text = " ".join(words)
    beginning = split(text)
    if words and not beginning:
        raise UserError("the text contains no words; give the beginning of an English sentence")
    model = train_model()
    if not beginning:
        sampling_temperature = 0.6 if temperature is None else temperature
        sentences = [model.complete("", _MAX_WORDS, sampling_temperature, seed + i) for i in range(_SENTENCE_COUNT)]
        if as_json:
            print_json({"sentences": sentences})
        else:
            print_lines(*[f"{sentence}." for sentence in sentences])
        return
    likeliest = model.likeliest(" ".join(beginning))
    sentence = model.complete(" ".join(beginning), _MAX_WORDS, temperature or 0.0, seed)
    if as_json:
        print_json({"sentence": sentence, "next": [{"word": word, "probability": p} for word, p in likeliest]})
        return
    from chainrule.plots import text as charts

    print_lines(f"{sentence}.", "", f"after {beginning[-1]!r}, the model expects")
    labels = ["the end" if word == END else word for word, _ in likeliest]
    bars = charts.bars([p for _, p in likeliest], labels, width=terminal_width(62) - 2, ascii=ascii_only())
    print_lines(*[f"  {bar}" for bar in bars])
