"""The Python side of the view Microscope: it answers the page's messages."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import models
from chainrule.errors import UserError
from chainrule.explain.backpropagation import Backpropagation
from chainrule.studio.microscope import subjects
from chainrule.studio.microscope.look import Specimen, look, operation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.studio.microscope.look import Answer
    from chainrule.studio.microscope.subjects import Subject
    from chainrule.studio.shelf import Shelf

DRAWING = -1
"""The image number that stands for the drawing."""
MAX_PASSES = 3
"""The number of passes that are cached, for the networks and images that were looked at last."""


class Microscope:
    """Answers the view Microscope.

    Args:
        shelf: the runs to choose from.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._lock = threading.Lock()
        self._subject: tuple[Any, Subject] | None = None
        self._passes: OrderedDict[Any, Backpropagation] = OrderedDict()

    def close(self) -> None:
        """Do nothing: no work continues after the last page is closed."""

    def answer(self, content: dict[str, Any], buffers: list[bytes]) -> Answer | None:
        """Answer a message; return None if it is not understood."""
        match content, buffers:
            case {"ask": "networks"}, []:
                return {"tell": "networks", "names": subjects.names(self.shelf), "chosen": self.shelf.chosen}, []
            case {"ask": "keep", "text": str(text)}, []:
                return {"tell": "kept", "key": self.shelf.keep(text)}, []
            case {"ask": "kept", "key": str(key)}, []:
                return {"tell": "strokes", "text": self.shelf.text(key)}, []
            case {"ask": str(ask), "run": str(run), "image": int(image), "label": int(label), "number": int(number)}, _:
                picture = buffers[0] if len(buffers) == 1 and image == DRAWING else None
                if buffers and picture is None:
                    return None
                with self._lock:
                    specimen = self._open(run, image, label, picture)
                    match ask, content:
                        case "look", {"weight": str(weight), "at": list(at), "layer": str(layer), "unit": list(unit)}:
                            answer, arrays = look(specimen, weight, at, layer, unit)
                        case "operation", {"operation": int(position)}:
                            answer, arrays = operation(specimen.passed, position)
                        case _:
                            return None
                return {**answer, "tell": ask, "number": number}, arrays
        return None

    def _open(self, name: str, image: int, label: int, picture: bytes | None) -> Specimen:
        """Return a network and an image, with the passes forward and backward.

        Raises:
            UserError: there is no such network, image or class, or the microscope is not for that network.
        """
        key, subject = self._load(name or self.shelf.chosen)
        if image == DRAWING:
            pixels, right = subjects.drawn(subject, picture), None
        elif 0 <= image < len(subject.images):
            pixels, right = np.asarray(subject.images[image], np.uint8), int(subject.labels[image])
        else:
            raise UserError(f"there is no image {image:,}: they are numbered from 0 to {len(subject.images) - 1:,}")
        if not -1 <= label < len(subject.classes):
            raise UserError(f"there is no class {label:,}: they are numbered from 0 to {len(subject.classes) - 1}")
        target = label if label >= 0 else right
        is_assumed = target is None
        if target is None:  # until a class is chosen, the prediction is taken for right
            target = int(np.argmax(self._pass(key, subject, pixels, 0).output))
        return Specimen(subject, image, pixels, target, is_assumed, self._pass(key, subject, pixels, target))

    def _pass(self, key: Any, subject: Subject, pixels: NDArray[np.uint8], target: int) -> Backpropagation:
        """Return the passes forward and backward, from the cache if they are there."""
        key = (*key, hashlib.sha256(pixels.tobytes()).digest(), target)
        if key not in self._passes:
            example = pixels.astype(np.float64) * models.PIXEL_SCALE
            try:
                self._passes[key] = Backpropagation(subject.network, example, target, subject.model.loss)
            except (TypeError, ValueError, IndexError) as error:
                raise UserError(f"{subject.name}: {error}") from error
            if len(self._passes) > MAX_PASSES:
                self._passes.popitem(last=False)
        self._passes.move_to_end(key)
        return self._passes[key]

    def _load(self, name: str) -> tuple[Any, Subject]:
        """Return a network by name, with a key that changes with its weights; the last network is cached."""
        run = subjects.find_run(self.shelf, name)
        has_weights = run is not None and run.weights_file.exists()
        key = (name, run.weights_file.stat().st_mtime_ns if run is not None and has_weights else None)
        if self._subject is None or self._subject[0] != key:
            self._subject = (key, subjects.load(name, run))
        return self._subject
