"""Trains `digit_detector`, the network that finds digits on a page, and puts its weights into the package.

    python scripts/train_detector.py [--steps N] [--start FOLDER] [--without KIND...] [--out FOLDER]

or `make detector-weights`, which trains twice, the second time from the weights of the first, and takes about one and a
half hours on one core. With `--steps 0` it only calibrates the weights that are there. Everything it learns from is
synthetic: crops (`data.handwriting.crops`) and pages (`data.handwriting.pages`) with MNIST's training digits and drawn
ones. The same seed gives the same bits on the same machine with the same NumPy, on one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import chainrule
from chainrule import models, nn, optim
from chainrule.data.handwriting.crops import Crop, CropMaker
from chainrule.data.handwriting.pages import KINDS, make_page
from chainrule.data.handwriting.targets import crop_page, detection_targets
from chainrule.files import atomic_write
from chainrule.images import evidence
from chainrule.images.classification import classify_detections
from chainrule.images.detection import detect_digits
from chainrule.images.files import to_gray_image
from chainrule.images.pyramid import make_levels, normalize_contrast
from chainrule.images.rescoring import rescore
from chainrule.models import load_detector
from chainrule.models.digit_detector import SHIPPED
from chainrule.nn.utils import clip_grad_norm_
from chainrule.reading import classifier
from chainrule.safetensors_io import load, save
from chainrule.tensor import Tensor, from_numpy
from chainrule.training import run as runs

if TYPE_CHECKING:
    from chainrule.data.handwriting.sheet import Extent

SEED = 0
REMEMBERED = 8000  # crops, of which each batch is drawn; a step adds one drawn as a crop and two cut out of pages
FIRST = 300  # times that crops are added before the first step
PAGES = 300  # pages in memory, of which crops are cut
UNSEEN, LEAST_MISTAKE = 0.5, 0.05  # what counts as the mistake about a crop that was not yet seen, and the least
CUT_PER_STEP = 2
STEPS_PER_PAGE = 5  # a new page takes the place of the oldest
MAX_PIXELS = 500_000  # of a page
MAX_NORM = 5.0  # of the gradient
AGAIN = 0.5  # of the recipe's learning rate, for weights that are trained already
MORE = (
    *["everyday", "no digits"] * 7,
    *["cells", "clutter", "light on dark", "plots"] * 3,
    *["faint"] * 2,
    "frames",
    "strips",
)
"""Kinds of pages that count more than once: what people photograph, what is hard, and what has no digits."""
CALIBRATION_SEED, CALIBRATION_PAGES = 10_000, 24  # of each kind: no page of these seeds is trained on
CALIBRATION_PIXELS = 1_000_000
NEAR = 10.0  # how strongly the weights of the evidence are held near those before
NEAR_FIRST = (
    1.0  # the same for doubtful detections: near the weights for all; of 1, 10 and 30, best in cross-validation
)
RARE = 0.25  # weight of a detection on a page without a digit: with it, they are one in twenty, more than people read


class Examples:
    """The crops that the detector learns from, more and more of them.

    Args:
        random: the only source of randomness.
        kinds: of pages; without any, there are crops only.
        first_page: the number of the first page: others have been trained on before.
    """

    def __init__(self, random: np.random.Generator, kinds: list[str], first_page: int = 0) -> None:
        self.random, self.kinds = random, kinds
        self.maker = CropMaker(random)
        self.next_page = first_page + 2 * len(kinds)
        self.pages = [self._page(number) for number in range(first_page, self.next_page)]
        self.crops: list[tuple[Crop, np.ndarray]] = []
        self.mistakes = np.full(REMEMBERED, UNSEEN)  # the greatest one about each crop, from 0 to 1
        self.count = 0
        for _ in range(FIRST):
            self.add()

    def _page(self, number: int):
        kind = self.kinds[number % len(self.kinds)]
        page = make_page(kind, number, train=True, max_pixels=MAX_PIXELS)
        page.image = to_gray_image(page.image)
        return page

    def add_page(self) -> None:
        """Make a page; the oldest goes if there are too many."""
        if self.kinds:
            self.pages = [*self.pages, self._page(self.next_page)][-PAGES:]
            self.next_page += 1

    def add(self) -> None:
        """Add crops of either source; the oldest go if there are too many."""
        crops = [self.maker.make()]
        for _ in range(CUT_PER_STEP if self.pages else 0):
            page = self.pages[int(self.random.integers(len(self.pages)))]
            crops.append(crop_page(page, self.random))
        for crop in crops:
            entry = crop, detection_targets(crop).astype(np.float16)
            if len(self.crops) < REMEMBERED:
                self.crops.append(entry)
            else:
                self.crops[self.count % REMEMBERED] = entry
            self.mistakes[self.count % REMEMBERED] = UNSEEN
            self.count += 1

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Contrast (size, 1, side, side) of crops, augmented, and their targets.

        A half of the crops is drawn at random. The others are drawn the more often, the greater the last mistake about
        them was, as in Schaul et al., "Prioritized experience replay" (2016): letters, signs and things that look like
        digits are few, and empty paper is soon learned.
        """
        shares = self.mistakes[: len(self.crops)] ** 2
        chosen = self.random.integers(len(self.crops), size=size)
        chosen[size // 2 :] = self.random.choice(len(self.crops), size - size // 2, p=shares / shares.sum())
        contrasts, targets = [], []
        for index in chosen.tolist():
            crop, target = self.crops[index]
            contrasts.append(normalize_contrast(self._augment(crop.gray)))
            targets.append(target)
        self.shown = chosen, np.stack(targets).astype(np.float32)
        return from_numpy(np.stack(contrasts)[:, None]), from_numpy(self.shown[1])

    def learn_mistakes(self, maps: np.ndarray) -> None:
        """Note how wrong the maps (size, 15, H, W) of the last batch are."""
        indices, targets = self.shown
        self.mistakes[indices] = np.maximum(greatest_mistakes(maps, targets), LEAST_MISTAKE)

    def _augment(self, gray: np.ndarray) -> np.ndarray:
        """Change brightness, polarity and noise, which takes no time."""
        values, random = gray.astype(np.float32) / 255, self.random
        if random.random() < 0.3:
            values = values ** np.float32(random.uniform(0.6, 1.6))
        if random.random() < 0.3:
            values = 1 - values
        if random.random() < 0.2:
            noise = random.uniform(0, 0.03) * random.standard_normal(values.shape, np.float32)
            values = np.clip(values + noise, 0, 1)
        return values.astype(np.float32)


def main() -> None:
    """Train, and write the weights and what they were trained with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, help="optimization steps  [default: those of the recipe]")
    parser.add_argument("--start", type=Path, help="a folder of weights to go on from  [default: random weights]")
    parser.add_argument("--without", nargs="*", default=[], help="kinds of pages to leave out, or: all")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="the folder to write to")
    options = parser.parse_args()
    model = models.get("digit_detector")
    recipe = model.recipe
    steps = recipe.steps_per_epoch if options.steps is None else options.steps
    without = options.without
    kinds = [] if without == ["all"] else [kind for kind in (*KINDS, *MORE) if kind not in without]
    if steps:
        train(model, steps, kinds, options.out, options.start)
    calibrate(options.out)


def train(model: models.Model, steps: int, kinds: list[str], folder: Path, start: Path | None) -> None:
    """Train, from the weights of a folder or from random ones, and write the weights from time to time."""
    recipe = model.recipe
    network = model.build(generator=np.random.default_rng((SEED, 1)))
    before = 0  # steps
    if start is not None:
        network.load_state_dict(load(start / "model.safetensors"))
        before = json.loads((start / "config.json").read_text())["training"]["steps"]
    lr = recipe.lr * (1.0 if start is None else AGAIN)
    optimizer = optim.AdamW(network.parameters(), lr=lr, weight_decay=recipe.weight_decay)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)

    @chainrule.jit
    def step(contrast: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        optimizer.zero_grad()
        maps = network(contrast)
        loss = model.loss(maps, targets)
        loss.backward()
        clip_grad_norm_(network.parameters(), MAX_NORM)
        optimizer.step()
        return loss, maps

    begun = time.perf_counter()
    examples = Examples(np.random.default_rng((SEED, 2, before)), kinds, first_page=before)
    total = 0.0
    for number in range(1, steps + 1):
        examples.add()
        if number % STEPS_PER_PAGE == 0:
            examples.add_page()
        loss, maps = step(*examples.batch(recipe.batch_size))
        examples.learn_mistakes(maps.numpy())
        total += loss.item()
        schedule.step()
        if number % 100 == 0:
            print(f"step {number}: loss {total / 100:.3f}, {time.perf_counter() - begun:.0f} s", flush=True)
            total = 0.0
        if number % 500 == 0 or number == steps:
            write(network, folder, {"steps": before + number, "seed": SEED, "kinds": kinds})


def greatest_mistakes(maps: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The greatest mistake (N,), from 0 to 1, about a place of each crop: a digit or none there, or which digit.

    Args:
        maps: the network's (N, 15, H, W).
        targets: those of `detection_loss`, (N, 17, H, W).
    """
    near, weight, digit = targets[:, 0], targets[:, 1], targets[:, 7:]
    probability = 1 / (1 + np.exp(-np.clip(maps[:, 0], -30, 30)))
    center = near >= 1
    where = np.where(center, 1 - probability, (1 - near) ** 2 * probability) * weight
    powers = np.exp(maps[:, 5:] - maps[:, 5:].max(axis=1, keepdims=True))
    right = (powers * digit).sum(axis=1) / powers.sum(axis=1)
    which = np.where(center, 1 - right, 0)
    return np.asarray(np.maximum(where, which).max(axis=(1, 2)))


def calibrate(folder: Path) -> None:
    """Fit the weights in `images.evidence` on pages that were not trained on, and print them."""
    detect, classify = load_detector(folder), classifier(runs.shipped())
    rows, right, counts = [], [], []
    rescored: dict[int, float] = {}  # by row: the log odds of a doubtful detection that was scored again
    for number in range(CALIBRATION_PAGES):
        for i, kind in enumerate((*KINDS, *MORE)):
            seed = CALIBRATION_SEED + number * len((*KINDS, *MORE)) + i
            page = make_page(kind, seed, train=True, max_pixels=CALIBRATION_PIXELS)
            levels = make_levels(np.asarray(to_gray_image(page.image), np.float32) / 255)
            detections = detect_digits(levels, detect)
            detections, _, _, features = classify_detections(levels, detections, classify)
            is_doubtful = evidence.is_doubtful(evidence.first_probability(features))
            for detection, row, doubtful in zip(detections, features, is_doubtful, strict=True):
                box = (detection.left, detection.top, detection.right, detection.bottom)
                is_digit = max((overlap(box, digit.box) for digit in page.digits), default=0) > 0.4
                is_labeled = is_digit or max((share_inside(box, other) for other in page.ignored), default=0) < 0.3
                if row.any() and is_labeled:
                    if doubtful:
                        rescored[len(rows)] = rescore(levels, [detection], detect).item()
                    rows.append(row)
                    right.append(is_digit)
                    counts.append(1.0 if page.digits else RARE)
    inputs, outputs, times = np.array(rows), np.array(right, float), np.array(counts)
    weights = fit_logistic(inputs, outputs, times, evidence.WEIGHTS, NEAR)
    print(f"{len(rows)} detections, {sum(right)} of them digits: WEIGHTS = {np.round(weights, 2).tolist()}")
    doubtful = list(rescored)
    more_inputs = evidence.rescored_features(inputs[doubtful], np.array(list(rescored.values())))
    start = np.insert(evidence.WEIGHTS, -1, 0.0)  # as if the second score told nothing
    weights = fit_logistic(more_inputs, outputs[doubtful], times[doubtful], start, NEAR_FIRST)
    print(f"{len(doubtful)} of them are doubtful: RESCORED_WEIGHTS = {np.round(weights, 2).tolist()}")


def overlap(one: Extent, other: Extent) -> float:
    """The intersection of two boxes over their union; narrow boxes count as half as wide as high."""
    (a, b, c, d), (e, f, g, h) = (widen(box) for box in (one, other))
    common = max(min(c, g) - max(a, e), 0) * max(min(d, h) - max(b, f), 0)
    return common / ((c - a) * (d - b) + (g - e) * (h - f) - common)


def share_inside(box: Extent, region: Extent) -> float:
    """The share of a box that is in a region."""
    (a, b, c, d), (e, f, g, h) = box, region
    return max(min(c, g) - max(a, e), 0) * max(min(d, h) - max(b, f), 0) / ((c - a) * (d - b))


def widen(box: Extent) -> Extent:
    """A box at least half as wide as high."""
    left, top, right, bottom = box
    more = max(0.0, (bottom - top) / 2 - (right - left)) / 2
    return left - more, top, right + more, bottom


def fit_logistic(
    rows: np.ndarray, right: np.ndarray, counts: np.ndarray, start: np.ndarray, strength: float
) -> np.ndarray:
    """The weights of logistic regression, by Newton's method; each row counts as often as `counts` says.

    They are held near `start`, by `strength`: some evidence is the same on nearly all pages, which tell little about
    its weight. The last one, of the constant, is not: how many digits there are is a different matter.
    """
    weights = start.copy()
    near = np.full(len(weights), strength)
    near[-1] = 0.01
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(rows @ weights, -50, 50)))
        curvature = (rows * (counts * p * (1 - p))[:, None]).T @ rows + np.diag(near)
        gradient = rows.T @ (counts * (p - right)) + near * (weights - start)
        weights = weights - np.linalg.solve(curvature, gradient)
    return weights


def write(network: nn.Module, folder: Path, training: dict) -> None:
    """Write model.safetensors, and config.json: what was trained how."""
    folder.mkdir(parents=True, exist_ok=True)
    save(network.state_dict(), folder / "model.safetensors")
    config = {"model": {"name": "digit_detector", "options": {}}, "training": training}
    with atomic_write(folder / "config.json") as file:
        file.write(json.dumps(config, indent=2).encode() + b"\n")


if __name__ == "__main__":
    main()
