"""Draw the pictures of README and site, docs/pictures/explain.png and spirals.gif: `make pictures`.

**explain.png.** A 5 is drawn with a pen on paper that is darker at the right and at the bottom, as on a photo by a
lamp; then `chainrule predict five.jpg --explain explain.png` shows each step to 28×28 pixels and the pretrained
network's probabilities.

**spirals.gif.** A network with two hidden layers learns to tell two spirals apart; once for light pages, once for dark.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import chainrule
from chainrule import nn, optim
from chainrule.cli import main
from chainrule.plots import animation

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
WIDTH, HEIGHT = 256, 188
STROKES = [[(186, 72), (134, 82), (124, 112)], [(124, 112), (152, 104), (172, 118), (160, 140), (128, 152), (108, 148)]]
"""The pen's lines, in pixels: x, y."""


def photo() -> Image.Image:
    """The photo of the digit: ink on unevenly lit paper, with the noise of a camera."""
    ink = Image.new("L", (WIDTH, HEIGHT), 0)
    pen = ImageDraw.Draw(ink)
    for stroke in STROKES:
        pen.line(stroke, fill=255, width=9, joint="curve")
    ink = ink.filter(ImageFilter.GaussianBlur(1.5))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    paper = 205 - 70 * x / WIDTH - 35 * y / HEIGHT
    noise = np.random.default_rng(0).normal(0, 2, paper.shape)
    gray = paper * (1 - 0.75 * np.asarray(ink) / 255) + noise
    return Image.fromarray(np.clip(gray, 0, 255).astype(np.uint8))


def explain(picture: Path) -> None:
    """Write the picture of `chainrule predict photo.jpg --explain steps.png`; exits as that command does."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.png"
        photo().save(file)
        main(["predict", str(file), "--explain", str(picture)])


def spirals(light: Path, dark: Path, frames: int = 50, every: int = 8) -> None:
    """Train a network on two spirals, and write animations of its decision boundary for light and for dark pages."""
    random = np.random.default_rng(0)
    turn = np.sqrt(np.linspace(0.02, 1, 100)) * 3 * np.pi
    arm = np.stack([turn * np.cos(turn), turn * np.sin(turn)], axis=1) / 10
    positions = np.concatenate([arm, -arm]) + random.normal(0, 0.02, (200, 2))
    labels = np.repeat([0, 1], 100)
    model = nn.Sequential(
        nn.Linear(2, 32, generator=random), nn.Tanh(), nn.Linear(32, 32, generator=random), nn.Tanh(),
        nn.Linear(32, 2, generator=random),
    )  # fmt: skip
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    x, y = chainrule.tensor(positions, dtype="float32"), chainrule.tensor(labels)
    classifiers = [classifier(model)]
    for step in range(1, frames * every + 1):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        if step % every == 0:
            classifiers.append(classifier(model))
    for file, is_dark in ((light, False), (dark, True)):
        animation.save_decision_boundary(
            classifiers, positions, labels, file, title="Two spirals", unit="step", every=every, dark=is_dark
        )


def classifier(model: nn.Module) -> Callable[[NDArray[np.float64]], NDArray[np.int64]]:
    """A copy of the network in its current state, as a function from positions (M, 2) to classes (M,)."""
    frozen = copy.deepcopy(model)

    def classify(positions: NDArray[np.float64]) -> NDArray[np.int64]:
        with chainrule.no_grad():
            return frozen(chainrule.tensor(positions, dtype="float32")).numpy().argmax(axis=1)

    return classify


if __name__ == "__main__":
    spirals(PICTURES / "spirals.gif", PICTURES / "spirals_dark.gif")
    explain(PICTURES / "explain.png")
