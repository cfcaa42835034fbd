"""Measure how well a network reads digits that it was not trained on, and recognizes what is not a digit.

    python benchmarks/classifier.py --run shipped
    python benchmarks/classifier.py --run shipped --json

Digits and marks are drawn with other seeds than those of the data set `handwriting`: each way of writing a digit, clean
and damaged as by a photo. Letters and other symbols are printed in fonts that matplotlib includes. Photos show drawn
digits on paper in uneven light, with noise, scaled down and saved as JPEG; `images.prepare` finds the digit in them.
Cutouts come from synthetic pages written with MNIST's test digits, as `chainrule read` cuts them.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from chainrule.autograd import no_grad
from chainrule.data import mnist
from chainrule.data.handwriting import DIGITS, LETTERS, MARKS, draw, random_pen, render
from chainrule.data.handwriting.cutouts import digit_cutouts, mark_cutouts
from chainrule.data.handwriting.samples import WITHOUT_SIZE, draw_image, to_image
from chainrule.errors import PictureError
from chainrule.images import prepare
from chainrule.images.digits import digit_names, split_probabilities
from chainrule.models import images_to_inputs
from chainrule.tensor import from_numpy
from chainrule.training import run as runs
from chainrule.training.evaluation import expected_calibration_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from chainrule.training.run import Run

SYMBOLS = "ΓΔΞΠΣΦΨΩλπЖШЩЮФ§¶†♠♣☂♫∞√≠≈@&{}"  # not in the training images, and not similar to a digit
FONTS = ("DejaVuSerif", "DejaVuSans-Oblique", "DejaVuSansMono-Bold", "STIXGeneralItalic", "cmr10")
SEED = 2_000_003


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="shipped", help="a trained run  [default: the pretrained network]")
    parser.add_argument("--count", type=int, default=200, help="digits per way of writing")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    document = measure(runs.find(options.run), options.count)
    if options.json:
        print(json.dumps(document, indent=1))
        return
    print(f"{document['run']}, {options.count} digits per way of writing\n")
    print(f"{'digit':22}{'clean':>8}{'damaged':>9}")
    for name, (clean, damaged) in document["drawn"].items():
        print(f"{name:22}{clean:8.1%}{damaged:9.1%}")
    print()
    for name, value in document["measures"].items():
        print(f"{name:66}{value:8.2%}")


def measure(run: Run, count: int) -> dict[str, object]:
    """Return the fractions of drawn digits that are read correctly, and the other measures, by name."""
    network, names = run.load_network(), run.config["data"]["classes"]
    digits = digit_names(names)

    def classify(images: Iterable[NDArray[np.uint8]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return class probabilities, the digits first and "no digit" last, and the answers: -1 is no digit."""
        stacked = np.stack(list(images))
        with no_grad():
            parts = [
                run.model.probabilities(network(images_to_inputs(from_numpy(stacked[i : i + 500])))).numpy()
                for i in range(0, len(stacked), 500)
            ]
        of_digits, none = split_probabilities(np.concatenate(parts).astype(np.float64), names)
        answers = np.where(none > of_digits.max(axis=1), -1, of_digits.argmax(axis=1))
        return np.concatenate([of_digits, none[:, None]], axis=1), answers

    generator = np.random.default_rng(SEED)
    drawn: dict[str, tuple[float, float]] = {}
    for label, variants in DIGITS.items():
        for variant in variants:
            shares = []
            for damaged in (False, True):
                images = [draw_image(label, generator, variant, damaged=damaged) for _ in range(count)]
                shares.append(float(np.mean(classify(images)[1] == digits.index(label))))
            drawn[f"{label} {variant}"] = (shares[0], shares[1])
    measures: dict[str, float] = {}
    data = mnist()
    rows, answers = classify(data.test_images)
    measures["MNIST's test images read right"] = float(np.mean(answers == data.test_labels))
    measures["MNIST's test images taken for no digit"] = float(np.mean(answers < 0))
    measures["MNIST's test images: calibration error"] = expected_calibration_error(rows, data.test_labels)
    validation = data.split(run.config["data"].get("validation")).validation  # all of them digits, held back
    temperature = fit_temperature(classify(validation.images)[0], validation.labels)
    scaled = expected_calibration_error(soften(rows, temperature), data.test_labels)
    measures[f"MNIST's test images: with temperature {temperature:.2f}"] = scaled
    photos, labels = photographs(5 * count, generator)
    rows, answers = classify(photos)
    measures["photos of drawn digits read right"] = float(np.mean(answers == labels))
    measures["photos of drawn digits taken for no digit"] = float(np.mean(answers < 0))
    measures["photos of drawn digits: calibration error"] = expected_calibration_error(rows, labels)
    scaled = expected_calibration_error(soften(rows, temperature), labels)
    measures[f"photos of drawn digits: with temperature {temperature:.2f}"] = scaled
    images, labels = digit_cutouts(20 * count, generator, train=False)
    answers = classify(images)[1]
    measures["digits cut out of pages read right"] = float(np.mean(answers == labels))
    measures["digits cut out of pages taken for no digit"] = float(np.mean(answers < 0))
    others = {
        "cut out of pages without digits": iter(mark_cutouts(5 * count, generator, train=False)),
        "letters, drawn": (draw_image(label, generator) for label in LETTERS for _ in range(count // 10)),
        "marks, drawn": (
            draw_image(label, generator) for label in MARKS if label not in WITHOUT_SIZE for _ in range(count // 10)
        ),
        "the same letters, in five fonts": (printed(letter, font) for letter in LETTERS for font in FONTS),
        "other symbols, in two fonts": (printed(symbol, font) for symbol in SYMBOLS for font in FONTS[:2]),
    }
    for name, images in others.items():
        rows, answers = classify(images)
        measures[f"{name}: no digit"] = float(np.mean(answers < 0))
        unsure = (answers < 0) | (rows[:, :-1].max(axis=1) < 0.5)
        measures[f"{name}: no digit, or below 50%"] = float(np.mean(unsure))
    return {"run": str(run.folder), "drawn": drawn, "measures": measures}


def soften(rows: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """The probabilities if the network's outputs are divided by a temperature."""
    powers: NDArray[np.float64] = np.maximum(rows, 1e-30) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(rows: NDArray[np.float64], labels: NDArray[np.integer]) -> float:
    """The temperature with the smallest cross entropy (Guo et al., 2017)."""
    index = np.arange(len(labels))
    return float(min(np.geomspace(0.5, 2.0, 57), key=lambda t: -np.log(soften(rows, t)[index, labels]).mean()))


def printed(symbol: str, font: str) -> NDArray[np.uint8]:
    """A symbol in one of matplotlib's fonts, in MNIST's format."""
    import matplotlib as mpl

    file = Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    picture = Image.new("L", (200, 200))
    ImageDraw.Draw(picture).text((50, 30), symbol, fill=255, font=ImageFont.truetype(str(file), 90))
    ink = np.asarray(picture, np.float32) / 255
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    return to_image(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def photographs(count: int, generator: np.random.Generator) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Up to `count` photos of drawn digits, prepared for the network, (28, 28) each, and their labels.

    Photos in which `prepare` finds no digit are left out.
    """
    images, labels = [], []
    for _ in range(count):
        label = str(generator.integers(10))
        height = float(generator.uniform(40, 160))
        ink = render(draw(label, generator), height, random_pen(generator), generator)
        try:
            images.append(prepare(photograph(ink, generator)).result)
        except PictureError:
            continue
        labels.append(int(label))
    return images, np.array(labels)


def photograph(ink: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.uint8]:
    """A photo of ink on paper, uint8 gray."""
    around = round(0.4 * max(ink.shape))
    ink = np.pad(ink, around)
    y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in ink.shape), indexing="ij")
    angle = generator.uniform(0, 2 * math.pi)
    light = generator.uniform(0.5, 0.95) * (1 + generator.uniform(0, 0.3) * (x * math.cos(angle) + y * math.sin(angle)))
    gray = light * (1 - generator.uniform(0.35, 0.9) * ink) + generator.normal(0, generator.uniform(0, 0.03), ink.shape)
    picture = Image.fromarray(np.rint(255 * np.clip(gray, 0, 1)).astype(np.uint8))
    factor = generator.uniform(0.5, 1.0)
    picture = picture.resize([max(16, round(side * factor)) for side in picture.size], Image.Resampling.BILINEAR)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(generator.integers(30, 95)))
    return np.asarray(Image.open(file))


if __name__ == "__main__":
    main()
