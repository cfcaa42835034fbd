"""A run that the view Inside has opened: its network in layers, and results that are cached between messages."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import explain
from chainrule.data.catalog import MNIST, SOURCES
from chainrule.errors import UserError
from chainrule.nn import Flatten, Linear
from chainrule.tensor import from_numpy
from chainrule.training import run as runs
from chainrule.training.evaluation import nan_message
from chainrule.training.image_task import IMAGES
from chainrule.training.table_task import TableTask
from chainrule.training.text_task import TextTask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.data.image_data import ImageData
    from chainrule.text import Tokenizer
    from chainrule.training.run import Run

    Silent = dict[int, list[int]]

N_SEARCHED = 5000
"""The number of training images that are searched for those that excite a neuron most."""
N_TOP = 9
"""The number of such images that are shown."""
N_CONNECTIONS = 6
"""The number of a neuron's connections that are listed."""
N_WIRES = 24
"""The number of connections between two layers that are drawn."""
WAIT = 0.9
"""Seconds that an answer waits for the search."""

EXAMPLES = ("i am going to the bank", "to be or not to be", "emma", "hello")
"""Texts to show first: the first one is taken that the network's tokenizer can encode."""


class OpenedText:
    """A language model, whose attention is shown.

    Args:
        run: a run of a GPT.
        tokenizer: the run's tokenizer.
    """

    kind = "text"

    def __init__(self, run: Run, tokenizer: Tokenizer) -> None:
        self.run, self.tokenizer = run, tokenizer
        self.network: Any = run.load_network()

    def example(self) -> str:
        """Return the text to show first."""
        for text in EXAMPLES:
            with suppress(UserError):
                self.tokenizer.encode(text)
                return text
        return self.tokenizer.decode(range(min(8, self.tokenizer.vocab_size)))

    def attention(self, text: str) -> tuple[list[str], NDArray[Any]]:
        """Return a text's tokens, at most as many as the context holds, and their attention, (layers, heads, T, T).

        Raises:
            UserError: the text is empty, or has a character that the network does not know.
        """
        tokens = self.tokenizer.encode(text)[: int(self.network.block_size)]
        if not len(tokens):
            raise UserError("there is no text yet: type a few words")
        shown = [self.tokenizer.decode(tokens[i : i + 1]) for i in range(len(tokens))]
        return shown, explain.attention_patterns(self.network, np.asarray(tokens, np.int64))


class OpenedImages:
    """A network of gray images.

    Args:
        run: a run on images.

    Raises:
        UserError: the view cannot show the network.
    """

    kind = "images"

    def __init__(self, run: Run) -> None:
        if len(run.config["data"]["image_shape"]) != 2:
            raise UserError(f"{run.folder.name} reads images in color; Inside shows networks of gray images")
        self.run, self.network = run, run.load_network()
        try:
            self.layers = explain.layers(self.network)
        except (TypeError, ValueError) as error:
            raise UserError(f"{run.folder.name} cannot be taken apart into layers: {error}") from None
        self.classes: list[str] = run.config["data"]["classes"]
        self.test: ImageData = IMAGES.load_test(run)
        self._surgery = explain.Surgery(self.network, run.model, self.test.test_images, self.test.test_labels)
        self._operating, self._search = threading.Lock(), threading.Lock()
        self._before: float | None = None
        self._searching: threading.Event | None = None
        self._top: list[explain.TopImages] | None = None
        self._fault = ""

    def titles(self) -> list[str]:
        """Return a short description of each layer."""
        titles = []
        for number, layer in enumerate(self.layers, 1):
            following = [type(module).__name__ for module in layer.after if not isinstance(module, Flatten)]
            if layer.has_filters:
                size = "×".join(str(side) for side in layer.weights.weight.shape[2:])
                title = f"Layer {number}: {layer.size} filters of {size}"
            elif number == len(self.layers):
                title = f"The answer: {layer.size} neurons"
            else:
                title = f"Layer {number}: {layer.size} neurons"
            titles.append(", ".join([title, *following]))
        return titles

    def look(self, picture: NDArray[np.uint8], silent: Silent) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """Return the class probabilities for an image, and the output of each layer."""
        outputs = explain.activations(self.silenced(silent), as_input(picture)[None])
        probabilities = self.run.model.probabilities(from_numpy(outputs[-1])).numpy()[0]
        if not np.isfinite(probabilities).all():
            raise UserError(f"{self.run.folder.name}: {nan_message(1, 1, 'image')}")
        return probabilities, [output[0] for output in outputs]

    def silenced(self, silent: Silent) -> Any:
        """Return the network with some neurons silenced."""
        return explain.silence(self.network, silent) if silent else self.network

    def wires(self, outputs: list[NDArray[Any]]) -> list[list[tuple[int, int, float]]]:
        """Return the strongest connections into each layer for an image: (source, neuron, weight · source's output).

        Only connections between two layers of neurons are returned: a filter has more than one weight per target.
        """
        strongest: list[list[tuple[int, int, float]]] = [[]]
        for index in range(1, len(self.layers)):
            if self.layers[index - 1].has_filters or not isinstance(self.layers[index].weights, Linear):
                strongest.append([])
                continue
            flows = self.connections[index] * outputs[index - 1]  # (neurons, sources)
            best = np.argsort(-np.abs(flows), axis=None, kind="stable")[:N_WIRES]
            pairs = zip(*np.unravel_index(best, flows.shape), strict=True)
            strongest.append([(int(source), int(neuron), float(flows[neuron, source])) for neuron, source in pairs])
        return strongest

    def pixel_map(
        self, picture: NDArray[np.uint8], silent: Silent, name: str, layer: int, neuron: int | None
    ) -> NDArray[np.float32]:
        """Return a map of an image's pixels for a class (None: the predicted one), or for a neuron of a hidden layer.

        For a hidden neuron the map is that of the gradient, whatever the name.
        """
        network, image = self.silenced(silent), as_input(picture)
        if layer < len(self.layers) - 1:
            return explain.gradient_map(explain.layers(network)[layer].prefix, image, neuron)
        if name == "gradient":
            return explain.gradient_map(network, image, neuron)
        if name == "integrated":
            return explain.integrated_gradients(network, image, neuron)
        return explain.occlusion_map(network, image, neuron, probabilities=self.run.model.probabilities)

    @cached_property
    def connections(self) -> list[NDArray[Any]]:
        """The connections into each layer (see `explain.connections`)."""
        return [explain.connections(self.network, index) for index in range(len(self.layers))]

    def strongest(self, layer: int, neuron: int) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
        """Return the strongest connections into a neuron, except from pixels, and out of it."""
        into = self.connections[layer][neuron] if layer else np.empty(0)
        out = self.connections[layer + 1][:, neuron] if layer + 1 < len(self.layers) else np.empty(0)

        def largest(values: NDArray[Any]) -> list[tuple[int, float]]:
            order = np.argsort(-np.abs(values), kind="stable")[:N_CONNECTIONS]
            return [(int(i), float(values[i])) for i in order]

        return largest(into), largest(out)

    def weight_pictures(self, layer: int, neuron: int) -> NDArray[np.float32]:
        """Return weights as pictures (N, H, W): of a neuron in layer 0, or of a filter from its strongest sources.

        Neurons of later layers have no pictures: N is 0.
        """
        weight = self.layers[layer].weights.weight.detach().numpy()[neuron]
        if self.layers[layer].has_filters:  # (sources, height, width)
            sources = [source for source, _ in self.strongest(layer, neuron)[0]] or range(len(weight))
            return np.asarray(weight[list(sources)], np.float32)
        if layer == 0:
            return np.asarray(weight.reshape(1, *self.test.test_images.shape[1:]), np.float32)
        return np.empty((0, 1, 1), np.float32)

    def operate(self, silent: Silent) -> tuple[float, float]:
        """Return the accuracy on the test images with all neurons, and with some silenced."""
        with self._operating:
            if self._before is None:
                self._before = self._accuracy({})
            return self._before, self._accuracy(silent)

    def _accuracy(self, silent: Silent) -> float:
        result = self._surgery.evaluate(silent)
        if result.nan_count:
            raise UserError(f"{self.run.folder.name}: {nan_message(result.nan_count, len(result.labels))}")
        return result.accuracy

    @cached_property
    def stand_in(self) -> bool:
        """Whether MNIST's training images replace the run's, which this machine has not generated or loaded yet."""
        source = SOURCES.get(self.run.config["data"]["name"])
        is_mnist_size = self.run.config["data"]["image_shape"] == [28, 28]
        return source is not None and source is not MNIST and not source.cached and is_mnist_size

    @cached_property
    def searched(self) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """The training images that are searched, and their labels."""
        data = MNIST.load() if self.stand_in else IMAGES.load(self.run)
        return data.train_images[:N_SEARCHED], data.train_labels[:N_SEARCHED]

    def top(self) -> list[explain.TopImages] | None:
        """Return the images that excite each neuron most, by layer; None while the search still runs.

        Raises:
            UserError: the search failed.
        """
        with self._search:
            if self._searching is None:
                self._searching = threading.Event()
                threading.Thread(target=self._find_top, args=(self._searching,), daemon=True).start()
            searching = self._searching
        searching.wait(WAIT)
        if self._fault:
            with self._search:
                self._searching = None  # the next request searches again
            raise UserError(self._fault)
        return self._top

    def _find_top(self, done: threading.Event) -> None:
        try:
            self._fault = ""
            self._top = explain.top_images(self.network, self.searched[0], N_TOP)
        except (UserError, ValueError, OSError) as error:
            self._fault = f"the training images cannot be searched: {error}"
        finally:
            done.set()

    def program(self, source: str, silent: Silent, layer: int, neuron: int) -> str:
        """Return a program that prints what the view shows."""
        shipped = self.run.folder == runs.SHIPPED
        name = "shipped()" if shipped else f"find({str(self.run.folder)!r})"
        images = "data.mnist()" if self.stand_in else "run.task.load(run)"
        lines = [
            "import numpy as np",
            "",
            f"from chainrule import {'data, ' * self.stand_in}explain, from_numpy",
            *(["from chainrule.images import prepare"] if "prepare" in source else []),
            "from chainrule.training import run as runs",
            "",
            f"run = runs.{name}",
            "network, test = run.load_network(), run.task.load_test(run)",
            f"image = {source} / np.float32(255)",
            f"layer, neuron, silent = {layer}, {neuron}, {silent}",
            "",
            "outputs = explain.activations(explain.silence(network, silent), image[None])",
            'print("probabilities", run.model.probabilities(from_numpy(outputs[-1])).numpy()[0].tolist())',
            'print("the neuron puts out", float(outputs[layer][0, neuron].max()))',
            "surgery = explain.Surgery(network, run.model, test.test_images, test.test_labels)",
            'print("accuracy", surgery.evaluate({}).accuracy)',
            'print("without", surgery.evaluate(silent).accuracy)',
            f"images = {images}.train_images[:{N_SEARCHED}]",
            f'print("top images", explain.top_images(network, images, {N_TOP})[layer].indices[neuron].tolist())',
        ]
        return "\n".join(lines) + "\n"


def open_run(run: Run) -> OpenedImages | OpenedText:
    """Open a run for the view.

    Raises:
        UserError: the view cannot show the run; the message says why.
    """
    if isinstance(run.task, TextTask):
        return OpenedText(run, run.task.load_tokenizer(run))
    if run.task is IMAGES:
        return OpenedImages(run)
    what = "the rows of a table" if isinstance(run.task, TableTask) else run.task.name
    raise UserError(f"{run.folder.name}: {run.model.name} reads {what}; Inside shows networks of images and of text")


def as_input(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return an image as an input of the network: floats from 0 to 1."""
    return np.asarray(picture / np.float32(255), np.float32)
