"""`chainrule predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import numpy as np

from chainrule.cli.arguments import PathName, check_output
from chainrule.cli.output import ascii_only, class_names, print_json, print_lines, terminal_width
from chainrule.cli.read import classifier
from chainrule.errors import PictureError
from chainrule.training import run as runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.images import Stages
    from chainrule.training.run import Run


@click.command(
    epilog="""\b
Examples:
  chainrule predict photo.jpg
  chainrule predict *.png --json
  chainrule predict photo.jpg --run runs
  chainrule predict photo.jpg --run runs/first-try --explain steps.png"""
)
@click.argument("images", nargs=-1, required=True, type=PathName(), metavar="IMAGE...")
@click.option(
    "--run",
    "run_path",
    type=PathName(),
    metavar="RUN",
    help="The trained model: a run's folder, or a folder of runs (the newest).  [default: the pretrained network]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option(
    "--explain",
    type=PathName(),
    metavar="FILE",
    help="Write a figure of the preprocessing, from photo to 28×28 (one IMAGE; .png, .svg, .pdf).",
)
def predict(images: Sequence[str], run_path: str | None, as_json: bool, explain: str | None) -> int:
    """Recognize the digit in each image: PNG, JPEG, BMP, GIF, WebP or TIFF, dark on light or light on dark."""
    if explain is not None and len(images) != 1:
        raise click.UsageError("--explain takes a single IMAGE")
    if explain is not None:
        from chainrule.plots import style  # imports matplotlib

        check_output(explain, "figure", style.FORMATS, photo=images[0])
    run = runs.shipped() if run_path is None else runs.find(run_path)
    classify = classifier(run)
    results: list[dict[str, Any]] = []
    from chainrule.images import prepare  # imports Pillow

    for file in images:
        try:
            stages = prepare(file)
        except PictureError as error:
            results.append({"file": file, "error": str(error)})
            continue
        probabilities = classify(stages.result[None])[0].astype(np.float64)  # (1, 28, 28) to (10,)
        probabilities /= probabilities.sum()  # sum to 1 in float64, too
        digit = int(probabilities.argmax())
        confidence = probabilities[digit].item()
        results.append({"file": file, "digit": digit, "confidence": confidence, "confidences": probabilities.tolist()})
        if explain is not None:
            _explain(stages, digit, probabilities, explain)
    if as_json:
        print_json(results)
    else:
        for entry in results:
            _print_result(entry, run)
        if any("digit" in entry for entry in results):
            print_lines(f"model: {_describe(run, run_path)}")
        if explain is not None and "digit" in results[0]:
            print_lines(f"figure: {explain}")
    return 2 if any("error" in entry for entry in results) else 0


def _print_result(entry: dict[str, Any], run: Run) -> None:
    if "error" in entry:
        print_lines(f"chainrule: {entry['error']}", err=True)
        return
    from chainrule.plots import text

    names = class_names(run)
    print_lines(f"{entry['file']}: {names[entry['digit']]}  ({entry['confidence']:.1%})")
    print_lines(
        *[
            "  " + line
            for line in text.bars(entry["confidences"], names, width=terminal_width(62) - 2, ascii=ascii_only())
        ]
    )


def _describe(run: Run, run_path: str | None) -> str:
    if run_path is not None:
        return f"{run.model.name} from {run.folder}"
    result = run.result
    accuracy = f", {result['test_accuracy']:.2%} accurate on MNIST's test images" if result else ""
    return f"{run.model.name}, the pretrained network{accuracy}; choose another with --run"


def _explain(stages: Stages, digit: int, probabilities: Any, file: str) -> None:
    from chainrule.plots import pictures, style  # imports matplotlib

    style.save(pictures.stages(list(stages), digit, probabilities), file)
