"""The Python side of the view Inside: the neurons of a network, which pixels decided, and surgery."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import UserError
from chainrule.images import prepare
from chainrule.studio.drawing import picture_file
from chainrule.studio.opened import OpenedImages, OpenedText, as_input, open_run
from chainrule.training import run as runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from chainrule.studio.shelf import Shelf

    Answer = tuple[dict[str, Any], list[bytes]]

WORDS = runs.SHIPPED_WORDS.name
"""The name of the language model in the package."""
OPEN_RUNS = 2
"""The number of runs that stay open: each keeps the outputs of layers for all test images."""
MAPS = {
    "gradient": ("gradient", "Where a little more ink would raise the score (orange) or lower it (blue)."),
    "integrated": ("integrated gradients", "How much each pixel adds to the score (orange) or takes from it (blue)."),
    "occlusion": ("occlusion", "Where covering a square of 5×5 pixels makes it less probable (orange) or more (blue)."),
}
"""The maps of pixels: the title of each, and what it shows."""
MAX_SILENT = 5000  # characters of a list of silenced neurons
MAX_TEXT = 2000  # characters
_SILENT = re.compile(r"(\d{1,2}\.\d{1,5}(-\d{1,2}\.\d{1,5})*)?", re.ASCII)


class Inside:
    """Answers the view Inside. An answer depends on its message and the runs alone.

    Args:
        shelf: the runs.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._lock = threading.Lock()
        self._opened: dict[tuple[str, int], OpenedImages | OpenedText] = {}
        self._asks: dict[str, Callable[[dict[str, Any], list[bytes]], Answer]] = {
            "open": self._open, "look": self._look, "map": self._map, "neuron": self._neuron, "top": self._top,
            "surgery": self._surgery, "attention": self._attention,
        }  # fmt: skip

    def close(self) -> None:
        """Forget the open runs."""
        with self._lock:
            self._opened.clear()

    def answer(self, content: dict[str, Any], buffers: list[bytes]) -> Answer | None:
        """Answer a message; return None if it is not understood."""
        match content, buffers:
            case {"ask": "keep", "text": str(text)}, []:
                return {"tell": "kept", "key": self.shelf.keep(text)}, []
            case {"ask": "kept", "key": str(key)}, []:
                return {"tell": "strokes", "text": self.shelf.text(key)}, []
        ask, number = content.get("ask"), content.get("number", 0)
        if not isinstance(ask, str) or ask not in self._asks or type(number) is not int or len(buffers) > 1:
            return None
        try:
            reply, arrays = self._asks[ask](content, buffers)
        except UserError as error:
            return {"tell": ask, "number": number, "error": str(error)}, []
        return {"tell": ask, "number": number, **reply}, arrays

    def _open(self, content: dict[str, Any], buffers: list[bytes]) -> Answer:
        names = {"runs": [*self.shelf.runs(), WORDS], "run": content.get("run") or self.shelf.chosen}
        try:
            opened = self._opened_run(names["run"])
        except UserError as error:
            return {**names, "kind": "none", "sentence": str(error)}, []
        result = opened.run.result or {}
        about = opened.run.model.name
        if "test_accuracy" in result:
            about += f": reads {result['test_accuracy']:.2%} of its test images right"
        reply = {**names, "kind": opened.kind, "about": about}
        if isinstance(opened, OpenedText):
            return {**reply, "example": opened.example()}, []
        height, width = opened.test.test_images.shape[1:]
        return {
            **reply,
            "maps": MAPS,
            "classes": opened.classes,
            "count": len(opened.test.test_images),
            "shape": [height, width],
            "drawable": [height, width] == [28, 28],
            "layers": [
                {"title": title, "size": layer.size, "filters": layer.has_filters}
                for title, layer in zip(opened.titles(), opened.layers, strict=True)
            ],
        }, []

    def _look(self, content: dict[str, Any], buffers: list[bytes]) -> Answer:
        opened = self._images(content)
        picture, label, source = _picture(opened, content, buffers)
        silent = _silent(opened, content)
        layer, neuron = _neuron(opened, content)
        probabilities, outputs = opened.look(picture, silent)
        reply = {
            "answer": int(probabilities.argmax()),
            "label": label,
            "probabilities": probabilities.tolist(),
            "shapes": [list(output.shape) for output in outputs],
            "wires": opened.wires(outputs),
            "code": opened.program(source, silent, layer, neuron),
        }
        return reply, [picture.tobytes(), *(_floats(output) for output in outputs)]

    def _map(self, content: dict[str, Any], buffers: list[bytes]) -> Answer:
        opened = self._images(content)
        picture, _, _ = _picture(opened, content, buffers)
        if content.get("map") not in MAPS:
            raise UserError(f"there is no such map; choose from {', '.join(MAPS)}")
        last = len(opened.layers) - 1
        layer, neuron = (last, None) if content.get("neuron") is None else _neuron(opened, content)
        pixels = opened.pixel_map(picture, _silent(opened, content), content["map"], layer, neuron)
        return {"largest": float(np.abs(pixels).max())}, [_floats(pixels)]

    def _neuron(self, content: dict[str, Any], buffers: list[bytes]) -> Answer:
        opened = self._images(content)
        layer, neuron = _neuron(opened, content)
        pictures = opened.weight_pictures(layer, neuron)
        into, out = opened.strongest(layer, neuron)
        return {"layer": layer, "neuron": neuron, "shape": pictures.shape, "in": into, "out": out}, [_floats(pictures)]

    def _top(self, content: dict[str, Any], buffers: list[bytes]) -> Answer:
        opened = self._images(content)
        layer, neuron = _neuron(opened, content)
        reply = {"layer": layer, "neuron": neuron}
        top = opened.top()
        if top is None:
            return {**reply, "waiting": True}, []
        images, labels = opened.searched
        indices = top[layer].indices[neuron]
        pictures = images[indices]
        return {
            **reply,
            "indices": indices.tolist(),
            "labels": [int(label) for label in labels[indices]],
            "values": [float(value) for value in top[layer].values[neuron]],
            "shape": pictures.shape,
            "among": f"{len(images):,} {'of MNIST’s ' * opened.stand_in}training images",
        }, [pictures.tobytes(), _floats(as_input(pictures).mean(0))]

    def _surgery(self, content: dict[str, Any], buffers: list[bytes]) -> Answer:
        opened = self._images(content)
        before, after = opened.operate(_silent(opened, content))
        return {"before": before, "after": after, "count": len(opened.test.test_labels)}, []

    def _attention(self, content: dict[str, Any], buffers: list[bytes]) -> Answer:
        opened = self._opened_run(content.get("run"))
        if not isinstance(opened, OpenedText):
            raise UserError(f"{opened.run.folder.name} is not a language model: it has no attention")
        text = content.get("text")
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            raise UserError(f"a text is needed, of at most {MAX_TEXT:,} characters")
        tokens, patterns = opened.attention(text)
        return {"tokens": tokens, "shape": patterns.shape}, [_floats(patterns)]

    def _images(self, content: dict[str, Any]) -> OpenedImages:
        opened = self._opened_run(content.get("run"))
        if not isinstance(opened, OpenedImages):
            raise UserError(f"{opened.run.folder.name} is a language model and sees no images")
        return opened

    def _opened_run(self, name: object) -> OpenedImages | OpenedText:
        """Return an open run; open it if it is not open, or has been trained further since."""
        run = runs.Run(runs.SHIPPED_WORDS) if name == WORDS else self.shelf.run(name)
        changed = run.weights_file.stat().st_mtime_ns if run.weights_file.exists() else 0
        key = (str(run.folder), changed)
        with self._lock:  # held while a run is opened, but not while an open run computes
            if key not in self._opened:
                opened = open_run(run)
                for other in list(self._opened)[: max(0, len(self._opened) - OPEN_RUNS + 1)]:
                    del self._opened[other]
                self._opened[key] = opened
            return self._opened[key]


def _picture(
    opened: OpenedImages, content: dict[str, Any], buffers: list[bytes]
) -> tuple[NDArray[np.uint8], int | None, str]:
    """Return the image that a message names: its pixels, its class if known, and a Python expression for its pixels."""
    images = opened.test.test_images
    if buffers:
        if images.shape[1:] != (28, 28):
            raise UserError("this network does not take images of 28×28 pixels, the size of drawings")
        with picture_file(buffers[0]) as file:
            picture = prepare(file, "the drawing").result
        return picture, None, 'prepare("drawing.png").result'
    number = content.get("image")
    if type(number) is not int or not 0 <= number < len(images):
        raise UserError(f"a test image has a number from 0 to {len(images) - 1:,}")
    return images[number], int(opened.test.test_labels[number]), f"test.test_images[{number}]"


def _neuron(opened: OpenedImages, content: dict[str, Any]) -> tuple[int, int]:
    """Return the layer and the neuron that a message names."""
    layer, neuron = content.get("layer"), content.get("neuron")
    if type(layer) is not int or not 0 <= layer < len(opened.layers):
        raise UserError(f"a layer has a number from 0 to {len(opened.layers) - 1}")
    if type(neuron) is not int or not 0 <= neuron < opened.layers[layer].size:
        raise UserError(f"a neuron of layer {layer} has a number from 0 to {opened.layers[layer].size - 1:,}")
    return layer, neuron


def _silent(opened: OpenedImages, content: dict[str, Any]) -> dict[int, list[int]]:
    """Return the silenced neurons by layer, which a message lists as LAYER.NEURON-LAYER.NEURON."""
    text = content.get("silent", "")
    if not isinstance(text, str) or len(text) > MAX_SILENT or not _SILENT.fullmatch(text):
        raise UserError("silent neurons are written as LAYER.NEURON-LAYER.NEURON, such as 0.5-1.17")
    silent: dict[int, list[int]] = {}
    for part in filter(None, text.split("-")):
        layer, neuron = map(int, part.split("."))
        if layer >= len(opened.layers) - 1:
            raise UserError("only neurons of the layers before the answer can be silenced")
        _neuron(opened, {"layer": layer, "neuron": neuron})
        silent.setdefault(layer, []).append(neuron)
    return {layer: sorted(set(neurons)) for layer, neurons in sorted(silent.items())}


def _floats(values: NDArray[Any]) -> bytes:
    """Return numbers as little-endian float32, as the page reads them."""
    return np.ascontiguousarray(values, "<f4").tobytes()
