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
    """A picture for TensorBoard: a figure of matplotlib, or an image (H, W) or (H, W, 3)."""

_BINS = 64
"""Number of bins of a histogram."""

_PICTURE_DPI = 80
"""Resolution of a figure, in dots per inch."""


class TensorBoard(Callback):
    """Writes each epoch for TensorBoard; needs the library tensorboardX (`pip install 'chainrule[tensorboard]'`).

        from chainrule import data, nn, optim, zeros
        from chainrule.training import TensorBoard, Trainer

        network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        examples = data.TensorDataset(zeros(8, 4), zeros(8, dtype="int64"))
        optimizer = optim.SGD(network.parameters(), lr=0.1)
        log = TensorBoard("runs/first/tensorboard")  # to view it, run: tensorboard --logdir runs
        trainer = Trainer(network, nn.CrossEntropyLoss(), optimizer, data.DataLoader(examples, 4), callbacks=[log])
        history = trainer.fit(2)

    The scalars of epoch E are the entries of its record in `trainer.history`, under their names, at step E. There is a
    histogram of each parameter, such as "weights/0.weight", and of its gradient, "gradients/0.weight": the gradient of
    the loss on the first batch of the training examples, without augmentation and in evaluation mode. The graph has a
    node for each operation of the network, in the scope of its module. The result of training is bitwise identical with
    and without this callback.

    Put it before `callbacks.Checkpoint` in the list of callbacks. A run that was killed and resumed then has each epoch
    once: events after the epoch that training resumes from are removed, and the scalars of epochs that are missing are
    added. Each run therefore needs a folder of its own.

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
        self._file: event_files.EventFile | None = None

    def on_start(self, trainer: Trainer) -> None:
        """Start a file with the graph, and with the completed epochs that are missing in the existing files.

        Raises:
            RunError: the folder cannot be read or written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            existing = event_files.remove_events_after(self.folder, trainer.epoch)
            file = event_files.EventFile(self.folder, existing.last_file_number + 1, existing.epoch + 1)
        except OSError as error:
            raise RunError(f"{error.filename or self.folder}: cannot be written ({error.strerror})") from None
        self._file = file
        if self.graph and not existing.has_graph:
            self._add_graph(file, trainer)
        for record in trainer.history:
            if record["epoch"] > existing.epoch:
                self._add_scalars(file, record)
        file.flush()

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Write the epoch's scalars, histograms and pictures."""
        file = self._file
        if file is None:
            raise RuntimeError("TensorBoard: on_epoch was called before on_start")
        self._add_scalars(file, record)
        if self.histograms:
            arrays = {f"weights/{name}": p.numpy() for name, p in trainer.network.named_parameters()}
            arrays |= {f"gradients/{name}": gradient for name, gradient in _gradients(trainer).items()}
            histograms = [_histogram(name, array) for name, array in arrays.items() if np.isfinite(array).any()]
            file.add(record["epoch"], summary=_summary(histograms))
        if self.pictures is not None:
            pictures = [_picture(name, picture) for name, picture in self.pictures().items()]
            file.add(record["epoch"], summary=_summary(pictures))
        file.flush()

    def on_end(self, trainer: Trainer) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _add_scalars(self, file: event_files.EventFile, record: Mapping[str, Any]) -> None:
        scalars = [{"tag": name, "simple_value": value} for name, value in record.items() if name != "epoch"]
        file.add(record["epoch"], summary=_summary(scalars))

    def _add_graph(self, file: event_files.EventFile, trainer: Trainer) -> None:
        from chainrule.training.operation_graph import OperationGraph  # needs tensorboardX

        inputs, _ = _sample(trainer)
        graph = OperationGraph(trainer.network)
        try:
            graph.record(trainer.network, inputs)
        except Exception as error:  # raised by the network's own code, in a forward pass that only the graph needs
            warnings.warn(f"TensorBoard: the network's graph cannot be drawn: {error}", stacklevel=2)
            return
        file.add(trainer.epoch + 1, graph_def=graph.definition.SerializeToString())


def _sample(trainer: Trainer) -> Any:
    """Return the first batch of the training examples, without augmentation."""
    return trainer.loader.dataset[: trainer.loader.batch_size]


def _gradients(trainer: Trainer) -> dict[str, NDArray[Any]]:
    """Return the gradients of the loss on the sample in evaluation mode, by parameter name, without frozen ones."""
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
    """Restore the states of all generators at the end of the block, so that its draws do not affect later ones."""
    generators = [*network_generators(network), default_generator()]
    states = [generator.bit_generator.state for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.bit_generator.state = state


def _summary(values: list[dict[str, Any]]) -> Any:
    """Return the protocol buffer `Summary` of scalars, histograms or pictures, each given by its fields."""
    from tensorboardX.proto import summary_pb2

    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(**value) for value in values])


def _histogram(name: str, array: NDArray[Any]) -> dict[str, Any]:
    """Count the finite values of an array in bins of equal width; return the fields of a `Summary.Value`."""
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
    """Encode a picture as PNG; return the fields of a `Summary.Value`.

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
    encoded = {"height": height, "width": width, "colorspace": 3, "encoded_image_string": content.getvalue()}  # 3: RGB
    return {"tag": name, "image": encoded}
