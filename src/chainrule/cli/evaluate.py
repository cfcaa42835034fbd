"""`chainrule evaluate`: evaluate a trained model on its test data."""

from __future__ import annotations

import click

from chainrule.cli import reports
from chainrule.cli.arguments import PathName, check_output
from chainrule.training import run as runs


@click.command(
    epilog="""\b
Examples:
  chainrule evaluate
  chainrule evaluate shipped
  chainrule evaluate runs/first-try --confusion confusion.png --mistakes mistakes.png"""
)
@click.argument("run", required=False, type=PathName())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option(
    "--confusion", type=PathName(), metavar="FILE", help="Write the confusion matrix as a figure (.png, .svg, .pdf)."
)
@click.option(
    "--mistakes", type=PathName(), metavar="FILE", help="Write the worst mistakes as a figure (.png, .svg, .pdf)."
)
def evaluate(run: str | None, as_json: bool, confusion: str | None, mistakes: str | None) -> None:
    """Evaluate a trained model on its test data.

    For images and tables with classes to predict: accuracy and loss, in total and by class. For tables with a numeric
    target: RMSE and R². For a text: loss and perplexity.

    RUN is a run's folder, or a folder of runs (the newest is used); by default the newest run in runs/. "shipped" is
    the pretrained network included with chainrule.
    """
    if confusion is not None or mistakes is not None:
        from chainrule.plots import style  # loads matplotlib

        check_output(confusion, "figure", style.FORMATS)
        check_output(mistakes, "figure", style.FORMATS, other_figure=confusion)
    trained_run = runs.find(run)
    reports.of(trained_run).evaluate(trained_run, as_json, confusion, mistakes)
