"""The task of models that predict the next token of a text."""

from __future__ import annotations

import inspect
import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import text
from chainrule.autograd import no_grad
from chainrule.capture import jit
from chainrule.data.loader import DataLoader
from chainrule.errors import DataError, RunError, shorten
from chainrule.text import TextData, TokenWindows
from chainrule.training.callbacks import best_index
from chainrule.training.modes import restore_modes
from chainrule.training.task import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from chainrule.models import Model, Recipe
    from chainrule.nn import Module
    from chainrule.tensor import Tensor
    from chainrule.text import Tokenizer
    from chainrule.training.run import Run

TOKENIZER = "tokenizer.json"
"""The file of a run's tokenizer."""

MAX_WINDOWS = 2000
"""Maximum number of windows of the validation part that are evaluated at the end of a run; they are evenly spaced."""

EPOCH_WINDOWS = 500
"""Maximum number of windows that are evaluated after each epoch."""

MIN_COMPILED_BATCHES = 10
"""Minimum number of batches for which compiling an evaluation saves time."""

BATCH_TOKENS = 1024
"""Tokens per batch in an evaluation: few enough to stay in the processor's caches."""


class TextValidator:
    """Measures loss and perplexity on at most `EPOCH_WINDOWS` windows of the validation part.

    Args:
        network: the network.
        model: defines the loss.
        data: the text.
        compiled: whether to compile the loss.
    """

    def __init__(self, network: Module, model: Model, data: TextData, compiled: bool) -> None:
        self._network, self._model, self._tokens = network, model, data.validation
        self._compiled_loss = jit(window_loss(network, model)) if compiled else None

    def __call__(self) -> dict[str, float]:
        """Return the metrics."""
        loss = mean_loss(self._network, self._model, self._tokens, self._compiled_loss, EPOCH_WINDOWS)
        return {"validation_loss": loss, "perplexity": perplexity(loss)}

    def figures(self) -> dict[str, Figure]:
        """Draw nothing: the metrics of a language model are two numbers."""
        return {}


class TextTask:
    """Language models: trained on random windows of tokens, measured by the loss per token on the validation part."""

    name = "text"
    data_type = TextData
    data_noun = "a text"
    metric = Metric("validation_loss", "min")
    data_schema: Mapping[str, Any] = {"name": str, "limit": int | None, "crc32": int, "validation_crc32": int}
    result_schema: Mapping[str, Any] = {"validation_loss": float, "perplexity": float}
    files: tuple[str, ...] = (TOKENIZER,)
    default_data = "everyday"

    def load(self, run: Run) -> TextData:
        """Load the text that a run was started with, encoded by the run's tokenizer."""
        return text.load(run.config["data"]["name"], self.load_tokenizer(run))

    def load_tokenizer(self, run: Run) -> Tokenizer:
        """Return a run's tokenizer.

        Raises:
            DataError: its file is missing or damaged, or it does not have the `vocab_size` of the run's config.
        """
        file = run.folder / TOKENIZER
        tokenizer = text.load_tokenizer(file)
        vocab_size = run.config["model"]["options"].get("vocab_size")
        if tokenizer.vocab_size != vocab_size:
            raise DataError(
                f"{file}: has {tokenizer.vocab_size:,} tokens, but the run's model has vocab_size "
                f"{shorten(str(vocab_size))}"
            )
        return tokenizer

    def defaults(self, model: Model, data: TextData) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return default options of a new model for the text, and overrides of the model's recipe."""
        options, overrides = CORPUS_DEFAULTS.get(data.name, ({}, {}))
        accepted_options = inspect.signature(model.build).parameters
        options = {name: value for name, value in options.items() if name in accepted_options}
        return {**options, "vocab_size": data.tokenizer.vocab_size}, dict(overrides)

    def describe(self, data: TextData, limit: int | None) -> dict[str, Any]:
        """Return the data section of a new run's config."""
        return {
            "name": data.name, "limit": limit, "crc32": _crc32(data.train), "validation_crc32": _crc32(data.validation),
        }  # fmt: skip

    def write_files(self, data: TextData, folder: Path) -> None:
        """Write the tokenizer into a run's folder."""
        data.tokenizer.save(folder / TOKENIZER)

    def check_settings(self, recipe: Recipe, limit: int | None, data: TextData) -> None:
        """Check the settings that depend on the text.

        Raises:
            RunError: a value is invalid.
        """
        if recipe.steps_per_epoch < 1:
            raise RunError(f"the number of steps per epoch must be at least 1, not {recipe.steps_per_epoch}")
        if recipe.augment:
            raise RunError("augmentation is for images; a text has none")
        if limit is not None and limit > len(data.train):
            raise RunError(f"the limit is {limit:,}, but {data.name} has {len(data.train):,} training tokens")

    def check_model(self, model: Model, network: Module, data: TextData) -> None:
        """Check that both parts of a text have at least one window of the network's block size.

        Raises:
            DataError: a part is too short.
        """
        for part, tokens in (("training", data.train), ("validation", data.validation)):
            TokenWindows(tokens, block_size(network), f"the {part} part of {data.name}")

    def check_network(self, run: Run, network: Module) -> None:
        """Check that a run's tokenizer has the `vocab_size` of the run's config.

        The network itself is not checked, since it was built with this `vocab_size`.

        Raises:
            DataError: the sizes differ, or the tokenizer's file is missing or damaged.
        """
        self.load_tokenizer(run)

    def check_result(self, result: Mapping[str, Any], source: str) -> None:
        """Check the values of result.json.

        Raises:
            RunError: the perplexity is impossible.
        """
        if not result["perplexity"] >= 1:
            raise RunError(f"{source}: perplexity must be at least 1, not {result['perplexity']}")

    def changed_part(self, run: Run, data: TextData) -> str | None:
        """Return "tokens of the text" if these have changed since a run was started, else None."""
        config = run.config["data"]
        if config["crc32"] == _crc32(data.train) and config["validation_crc32"] == _crc32(data.validation):
            return None
        return "tokens of the text"

    def examples_per_epoch(self, recipe: Recipe, limit: int | None, data: TextData) -> int:
        """Return the number of windows per epoch."""
        return recipe.steps_per_epoch * recipe.batch_size

    def loader(
        self, run: Run, recipe: Recipe, data: TextData, network: Module, generator: np.random.Generator
    ) -> DataLoader:
        """Return a loader that draws windows from anywhere in the training part."""
        limit = run.config["data"]["limit"]
        windows = TokenWindows(data.train[:limit], block_size(network), f"the training part of {data.name}")
        count = self.examples_per_epoch(recipe, limit, data)
        return DataLoader(windows, recipe.batch_size, shuffle=True, generator=generator, num_samples=count)

    def validator(self, network: Module, model: Model, data: TextData, *, compiled: bool) -> TextValidator:
        """Return a function that measures loss and perplexity on windows of the validation part."""
        return TextValidator(network, model, data, compiled)

    def counter(self) -> None:
        """Return None: a text can continue in many ways, so a prediction is not simply right or wrong."""
        return

    def evaluate_run(self, run: Run, data: TextData) -> dict[str, float]:
        """Evaluate a run's best weights on the validation part.

        Raises:
            RunError: there are no weights, they do not fit, or the loss is not finite.
        """
        network = run.load_network()
        loss = mean_loss(network, run.model, data.validation, jit(window_loss(network, run.model)))
        if not math.isfinite(loss):
            raise RunError(
                f"{run.weights_file}: the network's loss is {loss}: its weights are too large; train with a smaller "
                f"learning rate"
            )
        return {"validation_loss": loss, "perplexity": perplexity(loss)}

    def diagnose(self, run: Run, data: TextData) -> str | None:
        """Return a sentence if the best epoch is no better than predicting tokens by their frequency; else None."""
        history = run.history
        if not history or any(self.metric.name not in record for record in history):
            return None
        best_loss = history[best_index(history, self.metric.name, self.metric.mode)][self.metric.name]
        baseline_loss = guessing_loss(data.train, data.validation, data.tokenizer.vocab_size)
        if best_loss < baseline_loss:
            return None
        rate, epochs = run.config["training"]["lr"], run.config["training"]["epochs"]
        default_rate = CORPUS_DEFAULTS.get(data.name, ({}, {}))[1].get("lr", run.model.recipe.lr)
        if rate > default_rate:
            advice = f"a smaller learning rate than {rate:g}, such as {min(default_rate, rate / 10):.2g}"
        else:
            advice = f"more epochs than {epochs}, or a larger learning rate than {rate:g}"
        return (
            f"training did not work: the best validation loss, {best_loss:.4g}, is no better than that of guessing "
            f"tokens by their frequency, {baseline_loss:.4g}; try {advice}"
        )

    def headline(self, result: Mapping[str, Any]) -> str:
        """Return the perplexity, for lists of runs."""
        return f"perplexity {result['perplexity']:.4g}"


TEXT = TextTask()

CORPUS_DEFAULTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "names": ({"size": "names"}, {"batch_size": 32, "lr": 0.003}),
    "everyday": ({"size": "names", "block_size": 64}, {"epochs": 4, "lr": 0.003}),
}
"""By corpus: default options of a new model, and overrides of its recipe. ("names" is also a model size.)"""


def block_size(network: Module) -> int:
    """Return a language model's longest context, in tokens."""
    language_model: Any = network
    size: int = language_model.block_size
    return size


def window_loss(network: Module, model: Model) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function from windows and their targets, (N, T) each, to the mean loss."""
    return lambda inputs, targets: model.loss(network(inputs), targets)


def mean_loss(
    network: Module,
    model: Model,
    tokens: NDArray[Any],
    compiled_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    max_windows: int = MAX_WINDOWS,
) -> float:
    """Return the mean loss per token of a text, in nats.

    The text is split into windows of the network's block size, which are evaluated independently. If there are more
    than `max_windows` windows, only `max_windows` evenly spaced ones are evaluated.

    Args:
        network: the network; it runs in eval mode, and each module's mode is restored.
        model: defines the loss.
        tokens: (N,), at least one more than the block size.
        compiled_loss: `window_loss`, compiled, which is used for texts of at least `MIN_COMPILED_BATCHES` full batches.
        max_windows: the maximum number of windows to evaluate.
    """
    window_size = block_size(network)
    windows = TokenWindows(tokens, window_size)
    starts = np.arange(0, len(windows), window_size)
    if len(starts) > max_windows:
        starts = starts[np.linspace(0, len(starts) - 1, max_windows).astype(np.int64)]
    total_loss = 0.0
    batch_size = max(1, BATCH_TOKENS // window_size)
    eager_loss = window_loss(network, model)
    full_batch_loss = compiled_loss
    if full_batch_loss is None or len(starts) < MIN_COMPILED_BATCHES * batch_size:
        full_batch_loss = eager_loss
    with restore_modes(network), no_grad():
        network.eval()
        for first in range(0, len(starts), batch_size):
            inputs, targets = windows[starts[first : first + batch_size]]
            compute_loss = full_batch_loss if len(targets) == batch_size else eager_loss
            total_loss += compute_loss(inputs, targets).item() * len(targets)
    return total_loss / len(starts)


def perplexity(loss: float) -> float:
    """Return e^loss for a mean loss in nats per token.

    It is the number of equally likely tokens among which guessing would have this loss. The loss is clipped to 709,
    since e^709 is almost the largest float: a history must not contain infinity.
    """
    return math.exp(min(loss, 709.0))


def guessing_loss(train: NDArray[Any], validation: NDArray[Any], vocab_size: int) -> float:
    """Return the mean loss of predicting each token by its frequency in the training part; 1 is added to each count."""
    counts = np.bincount(train, minlength=vocab_size) + 1
    return float(-np.log(counts / counts.sum())[validation].mean())


def _crc32(tokens: NDArray[Any]) -> int:
    """Return a checksum of tokens."""
    return zlib.crc32(np.ascontiguousarray(tokens).data)
