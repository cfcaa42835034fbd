"""The history of a training run for TensorBoard: curves, histograms of weights and gradients, pictures, the graph."""

from __future__ import annotations

import io
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd import enable_grad, grad
from chainrule.distributed.sharded import network_generators
from chainrule.errors import RunError
from chainrule.random import default_generator
from chainrule.training import event_files
from chainrule.training.modes import restore_modes
from chainrule.training.trainer import Callback

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from chainrule.nn import Module
    from chainrule.training.trainer import Trainer

    FigureOrPixels = Figure | NDArray[np.uint8]
    """What TensorBoard can show as an image."""

_BINS = 64
"""Number of bins of a histogram."""

_PICTURE_DPI = 80
"""Dots per inch of a figure."""


class TensorBoard(Callback):
    """Writes each epoch for TensorBoard; needs the library tensorboardX (`pip install 'chainrule[tensorboard]'`).

        from chainrule import data, nn, optim, zeros
        from chainrule.training import TensorBoard, Trainer

        network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        examples = data.TensorDataset(zeros(8, 4), zeros(8, dtype="int64"))
        optimizer = optim.SGD(network.parameters(), lr=0.1)
        watch = TensorBoard("runs/first/tensorboard")  # look with: tensorboard --logdir runs
        trainer = Trainer(network, nn.CrossEntropyLoss(), optimizer, data.DataLoader(examples, 4), callbacks=[watch])
        history = trainer.fit(2)

    The scalars of epoch E are the entries of its record in `trainer.history`, under their names, at step E. There is a
    histogram of each parameter, "weights/0.weight", and of its gradient, "gradients/0.weight": that of the loss on the
    first batch of the training examples, without augmentation and in evaluation mode. The graph has a node for each
    operation of the network, in the scope of its module. None of this changes the training: its bits stay the same.

    Put it before `Checkpoint` in the list of callbacks. A run that was killed and is resumed then has each epoch once:
    events after the epoch that training resumes from are removed, and epochs that are missing are added, though without
    histograms. Each run therefore needs a folder of its own.

    Args:
        folder: the folder of the event files.
        histograms: whether to write histograms.
        graph: whether to write the graph.
        pictures: a function that is called after each epoch and returns pictures by name: figures of matplotlib, or
            images (H, W) or (H, W, 3) of type uint8.

    Raises:
        MissingLibraryError: tensorboardX is not installed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        histograms: bool = True,
        graph: bool = True,
        pictures: Callable[[], Mapping[str, FigureOrPixels]] | None = None,
    ) -> None:
        event_files.check_library()
        self.folder, self.histograms, self.graph, self.pictures = Path(folder), histograms, graph, pictures
        self._session: event_files.Session | None = None

    def on_start(self, trainer: Trainer) -> None:
        """Begin a file: with the graph, and with completed epochs that earlier files lack.

        Raises:
            RunError: the folder cannot be read or written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            earlier = event_files.cut(self.folder, trainer.epoch)
            session = event_files.Session(self.folder, earlier.sessions + 1, earlier.epoch + 1)
        except OSError as error:
            raise RunError(f"{error.filename or self.folder}: cannot be written ({error.strerror})") from None
        self._session = session
        if self.graph and not earlier.has_graph:
            self._add_graph(session, trainer)
        for record in trainer.history:
            if record["epoch"] > earlier.epoch:
                self._add_scalars(session, record)
        session.flush()

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Write the epoch's numbers, histograms and pictures to disk."""
        session = self._session
        if session is None:
            raise RuntimeError("TensorBoard: on_epoch was called before on_start")
        self._add_scalars(session, record)
        if self.histograms:
            values = {f"weights/{name}": p.numpy() for name, p in trainer.network.named_parameters()}
            values |= {f"gradients/{name}": array for name, array in _gradients(trainer).items()}
            summaries = [_histogram(name, array) for name, array in values.items() if np.isfinite(array).any()]
            session.add(record["epoch"], summary=_summary(summaries))
        if self.pictures is not None:
            pictures = [_picture(name, picture) for name, picture in self.pictures().items()]
            session.add(record["epoch"], summary=_summary(pictures))
        session.flush()

    def on_end(self, trainer: Trainer) -> None:
        """Close the file."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _add_scalars(self, session: event_files.Session, record: Mapping[str, Any]) -> None:
        numbers = [{"tag": name, "simple_value": value} for name, value in record.items() if name != "epoch"]
        session.add(record["epoch"], summary=_summary(numbers))

    def _add_graph(self, session: event_files.Session, trainer: Trainer) -> None:
        from chainrule.training.operation_graph import OperationGraph  # needs the library

        inputs, _ = _sample(trainer)
        graph = OperationGraph(trainer.network)
        try:
            graph.record(trainer.network, inputs)
        except Exception as error:  # raised by the network's own code, in a forward pass that only the graph needs
            warnings.warn(f"TensorBoard: the network's graph cannot be drawn: {error}", stacklevel=2)
            return
        session.add(trainer.epoch + 1, graph_def=graph.definition.SerializeToString())


def _sample(trainer: Trainer) -> Any:
    """Return the first batch of the training examples, without augmentation."""
    return trainer.loader.dataset[: trainer.loader.batch_size]


def _gradients(trainer: Trainer) -> dict[str, NDArray[Any]]:
    """Return the gradient of the loss on the sample in evaluation mode, by parameter; frozen ones have none."""
    network = trainer.network
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if not parameters:
        return {}
    inputs, targets = _sample(trainer)
    with _keep_generators(network), restore_modes(network), enable_grad():
        network.eval()
        loss = trainer.loss(network(inputs), targets)
        gradients = grad(loss, list(parameters.values()), allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    return {name: gradient.numpy() for name, gradient in pairs if gradient is not None}


@contextmanager
def _keep_generators(network: Module) -> Iterator[None]:
    """Restore the states of all generators at the end of the block: what it draws changes no later number."""
    generators = [*network_generators(network), default_generator()]
    states = [generator.bit_generator.state for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.bit_generator.state = state


def _summary(values: list[dict[str, Any]]) -> Any:
    from tensorboardX.proto import summary_pb2

    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(**value) for value in values])


def _histogram(name: str, array: NDArray[Any]) -> dict[str, Any]:
    """Count the finite values of an array in bins of equal width."""
    values = array[np.isfinite(array)].astype(np.float64)
    counts, edges = np.histogram(values, _BINS)
    return {
        "tag": name,
        "histo": {
            "min": values.min(),
            "max": values.max(),
            "num": values.size,
            "sum": values.sum(),
            "sum_squares": np.square(values).sum(),
            "bucket_limit": edges[1:].tolist(),
            "bucket": counts.tolist(),
        },
    }


def _picture(name: str, picture: FigureOrPixels) -> dict[str, Any]:
    """Encode a picture as PNG.

    Raises:
        TypeError: it is neither a figure nor an image of uint8.
    """
    from PIL import Image  # imported here: a run without pictures does not need it

    content = io.BytesIO()
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or (picture.ndim != 2 and picture.shape[2:] != (3,)):
            shape = f"shape {picture.shape} and type {picture.dtype}"
            raise TypeError(f"TensorBoard: picture {name!r} must be (H, W) or (H, W, 3) of type uint8, not of {shape}")
        image = Image.fromarray(picture)
        image.save(content, "png")
        width, height = image.size
    elif hasattr(picture, "savefig"):
        picture.savefig(content, format="png", dpi=_PICTURE_DPI, facecolor=picture.get_facecolor())
        width, height = Image.open(content).size
    else:
        raise TypeError(f"TensorBoard: picture {name!r} must be a figure or an array, not {type(picture).__name__}")
    encoded = {"height": height, "width": width, "colorspace": 3, "encoded_image_string": content.getvalue()}
    return {"tag": name, "image": encoded}
