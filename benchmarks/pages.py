"""Measure `chainrule read` and `chainrule predict` on synthetic pages of every kind, and compare two checkouts.

    python benchmarks/pages.py
    python benchmarks/pages.py --kinds strips,cells --pages 60 --first 100 --save build/pages

Each kind is a fault that a reader can have (see docs/reading.md), or everyday pages, or pages without a digit. The
pages are made by `chainrule.data.handwriting.pages` from MNIST's test digits and digits drawn from strokes, and read by
the commands, as by a user. To measure another checkout on the same pages, write them to a folder once, read it with
both, and compare:

    python benchmarks/pages.py --make build/pages
    PYTHONPATH=OTHER/src python benchmarks/pages.py --folder build/pages --json before.json
    python benchmarks/pages.py --folder build/pages --compare before.json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

Box = tuple[float, float, float, float]

OVERLAP = 0.4  # minimum intersection over union of a digit's box and the box that was read
NARROWEST = 0.5  # of a box's height: narrower boxes, of ones, are compared as if they were this wide
LEAST_CONFIDENCE = 0.5  # with less, `read` prints a question mark
CONFIDENCES = (0.5, 0.7, 0.9, 0.95, 0.99, 1.0)  # limits of the rows of `--calibration`
BINS = 15  # of the expected calibration error, as in `chainrule evaluate`
TRUTH = "truth.json"
PREDICTED = ("frames", "colors", "several", "habits", "plots")  # kinds that are a matter of `predict`, too
CROPPED = ("habits",)  # `predict` is given each digit of these pages in a picture of its own


@dataclass
class Score:
    """Counts over pages; times in seconds."""

    pages: int = 0
    written: int = 0
    found: int = 0
    right: int = 0
    false: int = 0
    faultless: int = 0
    single: int = 0  # pictures given to `predict`
    single_right: int = 0
    seconds: list[float] = field(default_factory=list)
    answers: list[tuple[float, bool]] = field(default_factory=list)  # confidence of what was read, and whether right

    def __add__(self, other: Score) -> Score:
        return Score(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})


def main() -> None:
    """Make pages, read them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", help="kinds of pages, separated by commas  [default: all]")
    parser.add_argument("--pages", type=int, default=20, help="pages of each kind  [default: 20]")
    parser.add_argument("--first", type=int, default=0, help="the first page's seed  [default: 0]")
    parser.add_argument("--make", type=Path, metavar="DIR", help="only write the pages to this folder")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="read the pages of this folder")
    parser.add_argument("--run", help="a trained run  [default: the pretrained network]")
    parser.add_argument("--save", type=Path, metavar="DIR", help="save the annotated pages in this folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores to this file")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="scores of an earlier run, to print beside these")
    parser.add_argument(
        "--calibration", action="store_true", help="print how often digits of each confidence are right"
    )
    parser.add_argument("--verbose", action="store_true", help="print each page that is not read perfectly")
    options = parser.parse_args()
    if options.pages < 1 or options.first < 0:
        parser.error(f"--pages must be at least 1 and --first at least 0, got {options.pages} and {options.first}")
    if options.folder is not None and not (options.folder / TRUTH).is_file():
        parser.error(f"{options.folder} holds no {TRUTH}: write pages there with --make {options.folder}")
    if options.compare is not None and not options.compare.is_file():
        parser.error(f"{options.compare} is not a file: an earlier run writes it with --json {options.compare}")
    if options.make is not None:
        make(options, options.make, parser)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder
        if folder is None:
            folder = Path(temporary)
            make(options, folder, parser)
        scores = read_folder(folder, options)
    before = {} if options.compare is None else json.loads(options.compare.read_text())
    print_table(scores, {kind: Score(**values) for kind, values in before.items()})
    if options.calibration:
        print_calibration([answer for score in scores.values() for answer in score.answers])
    if options.json is not None:
        options.json.write_text(json.dumps({kind: asdict(score) for kind, score in scores.items()}, indent=1))


def make(options: argparse.Namespace, folder: Path, parser: argparse.ArgumentParser) -> None:
    """Write the pages of all kinds, as PNG, and what is written on them."""
    from chainrule.data.handwriting.pages import KINDS, make_page  # an older checkout, which only reads, lacks it

    kinds = list(KINDS) if options.kinds is None else options.kinds.split(",")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        parser.error(f"there is no kind {unknown[0]!r}; there are {', '.join(KINDS)}")
    folder.mkdir(parents=True, exist_ok=True)
    truth = []
    for kind in kinds:
        for seed in range(options.first, options.first + options.pages):
            page = make_page(kind, seed)
            name = f"{kind.replace(' ', '-')}-{seed}"
            page.image.save(folder / f"{name}.png", compress_level=1)
            singles = []
            if kind in CROPPED:
                for i, digit in enumerate(page.digits):
                    crop(page.image, digit.box).save(folder / f"{name}-{i}.png")
                    singles.append({"file": f"{name}-{i}.png", "label": digit.label})
            elif kind in PREDICTED:
                label = page.digits[0].label if len(page.digits) == 1 else None  # None: there are several
                singles.append({"file": f"{name}.png", "label": label})
            truth.append(
                {
                    "kind": kind,
                    "file": f"{name}.png",
                    "digits": [[digit.label, digit.box] for digit in page.digits],
                    "ignored": page.ignored,
                    "singles": singles,
                }
            )
    (folder / TRUTH).write_text(json.dumps(truth, indent=1))


def crop(image: Any, box: Box) -> Any:
    """A digit in a picture of its own, with a margin."""
    left, top, right, bottom = box
    margin = 0.35 * (bottom - top)
    return image.crop((round(left - margin), round(top - margin), round(right + margin), round(bottom + margin)))


def read_folder(folder: Path, options: argparse.Namespace) -> dict[str, Score]:
    """Read every page of a folder; returns the scores by kind."""
    run = [] if options.run is None else ["--run", options.run]
    scores: dict[str, Score] = {}
    entries = json.loads((folder / TRUTH).read_text())
    kinds = None if options.kinds is None else options.kinds.split(",")
    command("read", str(folder / entries[0]["file"]), "--json", *run)  # compiles or loads the loops
    for entry in entries:
        if kinds is not None and entry["kind"] not in kinds:
            continue
        file = folder / entry["file"]
        begun = time.perf_counter()
        read = command("read", str(file), "--json", *run)
        seconds = time.perf_counter() - begun
        lines = json.loads(read).get("lines", []) if read else []
        score = compare(entry, [digit for line in lines for digit in line])
        score.seconds = [seconds]
        for single in entry["singles"]:
            score.single += 1
            score.single_right += recognized(folder / single["file"], single["label"], run)
        scores[entry["kind"]] = scores.get(entry["kind"], Score()) + score
        if options.verbose and not (score.faultless and score.single == score.single_right):
            misread = score.found - score.right
            missed, single = score.written - score.found, f"{score.single_right}/{score.single}"
            print(f"{entry['file']}: {misread} misread, {missed} missed, {score.false} false; predict {single}")
        if options.save is not None:
            options.save.mkdir(parents=True, exist_ok=True)
            command("read", str(file), "--out", str(options.save / entry["file"]), *run)
    return scores


def command(*arguments: str) -> str:
    """Run `chainrule` in this process; returns what it prints."""
    from chainrule.cli import main as chainrule

    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), contextlib.suppress(SystemExit):
        chainrule(list(arguments))
    return output.getvalue()


def recognized(file: Path, label: int | None, run: list[str]) -> bool:
    """Whether `predict` answers with the digit; or, if there are several, says so and points to `read`."""
    answer = command("predict", str(file), "--json", *run)
    entries = json.loads(answer) if answer else [{}]
    entry = entries[0] if isinstance(entries, list) else entries
    if label is None:
        return "read" in json.dumps({key: value for key, value in entry.items() if key != "file"})
    return bool(entry.get("digit") == label and "error" not in entry)


def compare(entry: dict[str, Any], read: list[dict[str, Any]]) -> Score:
    """Count what was read right, misread, missed, and read where no digit is."""
    score = Score(pages=1, written=len(entry["digits"]))
    pairs = sorted(
        (
            (overlap(box, digit["box"]), i, j)
            for i, (_, box) in enumerate(entry["digits"])
            for j, digit in enumerate(read)
        ),
        reverse=True,
    )
    matched: dict[int, int] = {}
    used = set()
    for common, i, j in pairs:
        if common > OVERLAP and i not in matched and j not in used:
            matched[i] = j
            used.add(j)
    score.found = len(matched)
    score.right = sum(read[j]["digit"] == entry["digits"][i][0] for i, j in matched.items())
    false = [
        digit
        for j, digit in enumerate(read)
        if j not in used and not any(share_inside(digit["box"], other) > 0.3 for other in entry["ignored"])
    ]
    score.false = len(false)
    labels = {j: entry["digits"][i][0] for i, j in matched.items()}
    score.answers = [(read[j]["confidence"], read[j]["digit"] == label) for j, label in labels.items()]
    score.answers += [(digit["confidence"], False) for digit in false]
    score.answers = [(confidence, right) for confidence, right in score.answers if confidence >= LEAST_CONFIDENCE]
    score.faultless = int(score.right == score.written and not score.false)
    return score


def overlap(one: Box, other: Box) -> float:
    """The intersection over union of two boxes, which are widened to `NARROWEST` of their heights."""
    one, other = widened(one), widened(other)
    area = intersection(one, other)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (one, other)]
    return area / max(sum(areas) - area, 1e-9)


def widened(box: Box) -> Box:
    """A box at least `NARROWEST` times as wide as high, and as high as wide."""
    left, top, right, bottom = box
    across = max(0.0, NARROWEST * (bottom - top) - (right - left)) / 2
    down = max(0.0, NARROWEST * (right - left) - (bottom - top)) / 2
    return left - across, top - down, right + across, bottom + down


def intersection(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def share_inside(box: Box, region: Box) -> float:
    """The part of a box that is in a region."""
    left, top, right, bottom = box
    return intersection(box, region) / max((right - left) * (bottom - top), 1e-9)


def print_table(scores: dict[str, Score], before: dict[str, Score]) -> None:
    """Print a row for each kind, with the scores before behind arrows."""
    total = sum(scores.values(), Score())
    columns = ("digits", "found", "read right", "misread", "missed", "false", "faultless", "predict", "s", "max s")
    print(f"{'kind':<14}" + "".join(f"{column:>{22 if before else 12}}" for column in columns))
    rows = [*scores.items(), ("all", total)]
    all_before = sum((before[kind] for kind in scores if kind in before), Score())
    for kind, score in rows:
        old = all_before if kind == "all" else before.get(kind)
        cells = row(score)
        if before:
            cells = [f"{a} → {b}" for a, b in zip(row(old) if old else ["?"] * len(cells), cells, strict=True)]
        print(f"{kind:<14}" + "".join(f"{cell:>{22 if before else 12}}" for cell in cells))


def print_calibration(answers: list[tuple[float, bool]]) -> None:
    """Print how often digits that were read with some confidence are right, and the expected calibration error.

    False digits are wrong ones; of question marks, it is not told which digit was meant.
    """
    bins: dict[int, list[float]] = {}
    for confidence, right in answers:
        bins.setdefault(min(int(confidence * BINS), BINS - 1), []).append(confidence - right)
    error = sum(abs(sum(differences)) for differences in bins.values()) / max(len(answers), 1)
    print(f"\n{'confidence':<14}{'digits':>12}{'mean':>12}{'right':>12}")
    for low, high in itertools.pairwise(CONFIDENCES):
        chosen = [(c, right) for c, right in answers if low <= c < high or c == high == 1]
        if chosen:
            mean, share = (statistics.fmean(values) for values in zip(*chosen, strict=True))
            print(f"{f'{low:.0%} to {high:.0%}':<14}{len(chosen):>12}{mean:>12.1%}{share:>12.1%}")
    print(f"expected calibration error: {error:.2%}")


def row(score: Score) -> list[str]:
    """The cells of the table."""
    written = max(score.written, 1)
    shares = [f"{count / written:.1%}" if score.written else "-" for count in (score.found, score.right)]
    return [
        str(score.written),
        *shares,
        str(score.found - score.right),
        str(score.written - score.found),
        str(score.false),
        f"{score.faultless}/{score.pages}",
        f"{score.single_right}/{score.single}" if score.single else "-",
        f"{statistics.median(score.seconds):.2f}" if score.seconds else "-",
        f"{max(score.seconds):.2f}" if score.seconds else "-",
    ]


if __name__ == "__main__":
    main()
