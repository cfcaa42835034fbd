"""The works to measure: names, FLOPs and target ratios; independent of any library.

A FLOP is one multiplication or one addition. Only matrix products and convolutions are counted; everything else is a
few percent. A training step needs three products where a prediction needs one: forward, the gradient of the weights,
and the gradient of the input, which the first layer does not need.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POOL = 50
"""The number of batches used in turn: a network that has memorized a single batch has zero gradients."""

POOL_BYTES = 64 * 2**20
"""The memory limit of a pool, which has at least two batches."""

RATE = 1e-6
"""The learning rate of timed steps. It does not affect the arithmetic, and keeps the network close to its initial
weights, so that all steps have similar numbers."""

BY = 1000
"""The number of images that the CNN reads at a time out of 10,000, as in the article's test loader."""

HIDDEN = {"sigmoid_mlp": 30, "mlp": 128}


@dataclass(frozen=True)
class Work:
    """Something to measure.

    Attributes:
        key: its name on the command line and in the JSON document.
        name: its name in the table.
        kind: "train" (one step), "predict", "generate", "chain", or "process" (whole programs, see `bench`).
        model: "sigmoid_mlp", "mlp", "cnn" or "gpt", as in `chainrule.models`.
        batch: batch size, in images or texts.
        hidden: neurons of the hidden layer.
        goals: target ratios of a library's best time to ours, by library.
        unit: the unit of the result, "s" or "B".
        threads: number of threads; 0 for each library's default.
    """

    key: str
    name: str
    kind: str
    model: str = ""
    batch: int = 0
    hidden: int = 0
    goals: dict[str, float] = field(default_factory=dict)
    unit: str = "s"
    threads: int = 0

    @property
    def group(self) -> str:
        """Its group on the command line: "W5" for "W5-cnn-1"."""
        return self.key.partition("-")[0]

    @property
    def flops(self) -> int:
        """The FLOPs of one step or prediction; 0 for other kinds of works."""
        if self.kind not in ("train", "predict"):
            return 0
        if self.model == "gpt":
            return 3 * self.batch * LENGTH * sum(gpt_layers())
        layers = cnn_layers() if self.model == "cnn" else dense_layers(784, self.hidden, 10)
        return self.batch * (training_flops(layers) if self.kind == "train" else sum(layers))

    @property
    def pool(self) -> int:
        """The number of batches used in turn."""
        if self.kind == "predict":
            return 1
        return max(2, min(POOL, POOL_BYTES // (self.batch * 784 * 4)))


def batches(work: Work, rng: np.random.Generator) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """The pool of batches of a work, the same for every library.

    Random images (batch, 28, 28) and labels (batch,); for "gpt" random texts and next characters, (batch, LENGTH).
    """
    if work.model == "gpt":
        size = work.batch, LENGTH
        return [(rng.integers(0, TOKENS, size), rng.integers(0, TOKENS, size)) for _ in range(work.pool)]
    return [(rng.random((work.batch, 28, 28), "f4"), rng.integers(0, 10, work.batch)) for _ in range(work.pool)]


def chain(library: Any) -> None:
    """1,000 multiplications of scalars, forward and backward, in a library with PyTorch's API."""
    x = library.tensor(1.0001, requires_grad=True)
    y = x
    for _ in range(1000):
        y = y * x
    y.backward()


TOKENS, LENGTH, WIDTH, HEADS, DEPTH = 65, 64, 128, 4, 4
"""nanoGPT's character model for a CPU: 65 characters, texts of 64, 4 layers of 4 heads, 128 wide. It is the size
"shakespeare" of `chainrule.models.gpt`."""

GENERATED = LENGTH - 1
"""The number of characters that are generated after the first, which fills the block."""


def gpt_layers() -> list[int]:
    """The FLOPs of each product for one character; the two of attention run over all characters of a text."""
    block = [*dense_layers(WIDTH, 3 * WIDTH), 2 * LENGTH * WIDTH, 2 * LENGTH * WIDTH, *dense_layers(WIDTH, WIDTH)]
    return DEPTH * [*block, *dense_layers(WIDTH, 4 * WIDTH, WIDTH)] + dense_layers(WIDTH, TOKENS)


def dense_layers(*sizes: int) -> list[int]:
    """The FLOPs of each fully connected layer for one image."""
    return [2 * inputs * outputs for inputs, outputs in pairwise(sizes)]


def convolution(side: int, inputs: int, outputs: int, kernel: int) -> int:
    """The FLOPs of a convolution for one image with an output of side×side."""
    return 2 * side * side * inputs * outputs * kernel * kernel


def cnn_layers() -> list[int]:
    """The FLOPs of each layer of the article's CNN for one image."""
    return [convolution(28, 1, 32, 5), convolution(14, 32, 64, 5), *dense_layers(3136, 10)]


def training_flops(layers: list[int]) -> int:
    """The FLOPs of a training step for one image: three products for each layer, but two for the first."""
    return 3 * sum(layers) - layers[0]


def mlp(key: str, name: str, kind: str, batch: int, hidden: int = 128, **more: object) -> Work:
    """A work with a 784-hidden-10 network."""
    return Work(key, name, kind, "mlp", batch, hidden, **more)  # type: ignore[arg-type]


def gpt(key: str, name: str, kind: str, batch: int, threads: int, **goals: float) -> Work:
    """A work with the language model."""
    return Work(key, name, kind, "gpt", batch, goals=goals, threads=threads)


BATCHES = [1, 4, 16, 64, 256, 1024, 4096]
WIDTHS = [32, 128, 512, 1024, 2048, 4096]
QUICK = {1, 32, 4096}
"""--quick measures only the ends of the growth table."""

NOT_QUICK = {"W2-128", "W2-cold", "W2-warm", "W4-process", "W5-mlp-10000", "W5-cnn-10000", "99", "train"}
"""--quick omits these, unless works are given."""

TABLE = [
    Work("W1", "784-30-10, sigmoid, batch 10, SGD", "train", "sigmoid_mlp", 10, 30, goals={"PyTorch": 7, "JAX": 2}),
    mlp("W2", "784-128-10, ReLU, batch 64, Adam", "train", 64, goals={"PyTorch": 2.5, "JAX": 1.2}),
    mlp("W2-128", "the same, batch 128", "train", 128),
    mlp("W2-cold", "the first call, nothing on disk", "process", 64),
    mlp("W2-warm", "the first call, in a later process", "process", 64),
    Work("W3", "the CNN, batch 64, Adam", "train", "cnn", 64, goals={"PyTorch": 1.2}),
    Work("W4", "an epoch of 784-128-10, batch 64, Adam", "process", goals={"PyTorch": 10}),
    Work("W4-process", "the same, the whole process", "process"),
    mlp("W5-mlp-1", "784-128-10 reads 1 image", "predict", 1, goals={"PyTorch": 2}),
    mlp("W5-mlp-10000", "784-128-10 reads 10,000 images", "predict", 10_000, goals={"PyTorch": 1}),
    Work("W5-cnn-1", "the CNN reads 1 image", "predict", "cnn", 1, goals={"PyTorch": 2}),
    Work("W5-cnn-10000", "the CNN reads 10,000, by 1,000", "predict", "cnn", 10_000, goals={"PyTorch": 1}),
    Work("W6", "start-up: import, build, first prediction", "process", goals={"PyTorch": 5}),
    Work("W6-import", "import, without process start", "process"),
    Work("W7", "1,000 operations, forward and backward, eager", "chain", goals={"PyTorch": 1}),
    gpt("W8", f"a GPT, 4 × 128, 12 × {LENGTH} characters, AdamW, one thread", "train", 12, threads=1, PyTorch=1.33),
    gpt("W8-2", "the same, two threads", "train", 12, threads=2, PyTorch=1.33),
    gpt("W9", f"the GPT generates {GENERATED} characters, one thread", "generate", 1, threads=1, PyTorch=3),
    Work("99", "training to 99% on MNIST's test images", "process", goals={"PyTorch": 1.3}),
    Work("train", "chainrule train, start to end", "process"),
    Work("memory", "peak memory of W3's process", "process", goals={"PyTorch": 1.5}, unit="B"),
]
GROWTH = {
    "batch": [mlp(f"batch-{n}", f"batch {n:,}", "train", n) for n in BATCHES],
    "width": [mlp(f"width-{n}", f"width {n:,}", "train", 64, n) for n in WIDTHS],
}
WORKS = {work.key: work for work in [*TABLE, *GROWTH["batch"], *GROWTH["width"]]}
GROUPS = [*dict.fromkeys(work.group for work in TABLE), "growth"]
