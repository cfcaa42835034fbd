"""The Python side of the view Time machine: a run at any step, its forks, and races.

Scrubbing requests many steps, of which only the last one matters: a page's newer request cancels the replay for an
older one.
"""

from __future__ import annotations

import math
import tempfile
import threading
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import models
from chainrule.autograd import no_grad
from chainrule.data.image_data import ImageData
from chainrule.errors import RunError, UserError
from chainrule.images.steps import BlankPictureError, prepare
from chainrule.studio.frames import finite
from chainrule.studio.races import Races
from chainrule.studio.shelf import SHIPPED, describe
from chainrule.studio.weights import weights_sheet
from chainrule.tensor import from_numpy
from chainrule.training.image_task import IMAGES
from chainrule.training.modes import restore_modes
from chainrule.training.observation import rms
from chainrule.training.optimizers import OPTIMIZERS
from chainrule.training.replay import CanceledError, RunReplay, weights_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.studio.shelf import Shelf
    from chainrule.training.run import Run
    from chainrule.training.task import Data

    Answer = tuple[dict[str, Any], list[bytes]]

OPEN_RUNS = 2
"""The number of runs whose replays are kept open."""
MEMORY = 128_000_000
"""The bytes of states that each open replay may keep."""
MAX_PAGES = 100
"""The number of pages whose newest requests are remembered."""
MAX_POINTS = 400
"""The approximate number of points of the loss curve."""
CODE = """from chainrule.training import run as runs
from chainrule.training.replay import RunReplay, weights_digest

replay = RunReplay(runs.find({folder!r}))
trainer = replay.seek({step})
print(weights_digest(trainer.network))
print(replay.validate())
"""


class OpenRun:
    """A run whose steps are replayed.

    Args:
        run: the run.
        data: the run's data, if they are loaded already.

    Attributes:
        run: the run.
        stamp: the state of the run's files when it was opened.
        replay: takes a trainer to any step; may be used only while holding `lock`.
        lock: protects `replay`.
        here: the current step of the replay, updated while it runs.
    """

    def __init__(self, run: Run, data: Data | None = None) -> None:
        self.stamp = stamp(run)  # taken before the files are read, so that later changes are noticed
        self.run, self.replay, self.lock, self.here = run, RunReplay(run, data, memory=MEMORY), threading.Lock(), 0
        self._metrics: dict[int, dict[str, float]] = {}
        self._measuring = threading.Lock()
        self._network = run.build_network(np.random.default_rng(0))

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of the run's images; None if it does not read images."""
        return tuple(self.run.config["data"]["image_shape"]) if self.run.task is IMAGES else None

    def image(self, number: int) -> tuple[NDArray[np.uint8], str]:
        """Return a test image, and the name of its class.

        Raises:
            RunError: the run does not read images.
        """
        data = self.replay.data
        if not isinstance(data, ImageData):
            raise RunError(f"{self.run.folder.name}: {self.run.model.name} reads no images")
        i = number % len(data.test_images)
        return data.test_images[i], data.classes[int(data.test_labels[i])]

    def metrics(self, step: int, weights: dict[str, NDArray[Any]]) -> dict[str, float]:
        """Evaluate weights on the validation examples, in a separate network: the replay can continue meanwhile."""
        with self._measuring:
            if step not in self._metrics:
                self._network.load_state_dict(weights)
                validator = self.run.task.validator(self._network, self.run.model, self.replay.data, compiled=False)
                self._metrics[step] = {name: float(value) for name, value in validator().items()}
            return self._metrics[step]


class TimeMachine:
    """Answers the view Time machine.

    Args:
        shelf: the runs.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf, self.races = shelf, Races(shelf)
        self._runs: OrderedDict[str, OpenRun] = OrderedDict()  # the last used at the end
        self._newest: OrderedDict[int, int] = OrderedDict()  # by page: the number of its newest request
        self._lock = threading.Lock()  # protects _runs, _newest and _opening
        self._opening: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by the run's name

    def close(self) -> None:
        """Save and stop the trainings, and forget the replays."""
        self.races.close()
        with self._lock:
            self._runs.clear()

    def answer(self, content: dict[str, Any], buffers: list[bytes]) -> Answer | None:
        """Answer a message; return None if it is not understood."""
        closes = self.races.closes
        match content, buffers:
            case {"ask": "runs"}, []:
                return {"tell": "runs", "runs": [name for name in self.shelf.runs() if name != SHIPPED]}, []
            case {"ask": "open", "run": str(name)}, []:
                return self._reply("opened", name, lambda: self._open_and_describe(name))
            case {"ask": "image", "run": str(name), "number": int(number)}, []:
                return self._reply("image", name, lambda: self._image(name, number))
            case {"ask": "picture", "run": str(name), "number": int(number)}, [picture]:
                return self._reply("picture", name, lambda: _read(picture), {"number": number})
            case {"ask": "step", "run": str(name), "step": int(step), "page": int(page), "number": int(number)}, _:
                about = {"step": step, "number": number}
                return self._reply("step", name, lambda: self._step(name, step, page, number, buffers), about)
            case {"ask": "metrics", "run": str(name), "step": int(step), "page": int(page), "number": int(number)}, []:
                about = {"step": step, "number": number}
                return self._reply("metrics", name, lambda: self._measure(name, step, page, number), about)
            case {"ask": "progress", "run": str(name)}, []:
                with self._lock:
                    opened = self._runs.get(name)
                return {"tell": "progress", "run": name, "step": opened.here if opened else 0}, []
            case {
                "ask": "fork",
                "run": str(name),
                "step": int(step),
                "settings": dict(settings),
                "race": bool(race),
            }, []:
                return self._reply(
                    "forked", name, lambda: self._fork(name, step, settings, race, closes), {"step": step}
                )
            case {"ask": "lane", "run": str(name), "after": int(after)}, []:
                return self._reply("lane", name, lambda: self.races.lane(name, after))
            case {"ask": "stop"}, []:
                self.races.stop()
                return {"tell": "stopped"}, []
            case {"ask": "go on", "runs": list(names)}, [] if all(isinstance(name, str) for name in names):
                return self._reply("gone on", "", lambda: self.races.go_on(names, closes))
        return None

    def _reply(self, tell: str, name: str, make: Any, about: dict[str, Any] | None = None) -> Answer:
        """Return an answer about a run; an error becomes a sentence in the answer."""
        head = {"tell": tell, "run": name, **(about or {})}
        try:
            content, buffers = make()
        except CanceledError:
            return {**head, "canceled": True}, []
        except (UserError, ArithmeticError) as error:
            return {**head, "error": str(error)}, []
        return {**head, **content}, buffers

    # Runs

    def _open(self, name: str) -> OpenRun:
        """Return a run's open replay; open it again, with the data in memory, if the run's files have changed.

        While a run trains, its files change at each epoch: concurrent requests then share one new replay.

        Raises:
            RunError: the run was deleted, or cannot be replayed.
        """
        run = self.shelf.run(name)
        if name == SHIPPED:
            raise RunError(
                "the network in the package came without the steps of its training: choose another run, or train one, "
                "in the view Train or with the command chainrule train"
            )
        with self._lock:
            opening = self._opening[name]
        with opening:
            with self._lock:
                opened = self._runs.get(name)
                if opened is not None and opened.stamp == stamp(run):
                    self._runs.move_to_end(name)
                    return opened
            run = self.shelf.run(name)  # read again after waiting for the lock
            is_same = opened is not None and opened.run.config["data"] == run.config["data"]
            opened = OpenRun(run, opened.replay.data if opened is not None and is_same else None)
            if not opened.replay.last_step:
                raise RunError(f"{name}: has not been trained yet, so it has no steps")
            with self._lock:
                self._runs[name] = opened
                self._runs.move_to_end(name)
                while len(self._runs) > OPEN_RUNS:
                    self._runs.popitem(last=False)
            return opened

    def _open_and_describe(self, name: str) -> Answer:
        opened = self._open(name)
        run, replay = opened.run, opened.replay
        history = np.array(
            [
                [replay.step_of_epoch(record["epoch"])]
                + [record.get(key, math.nan) for key in ("train_loss", "validation_loss", "validation_accuracy")]
                for record in run.history
            ],
            np.float64,
        ).reshape(-1, 4)
        recipe = run.config["training"]
        settings = {key: recipe[key] for key in ("optimizer", "lr", "batch_size", "epochs", "schedule")}
        return {
            "last": replay.last_step,
            "steps_per_epoch": replay.segments[-1].steps_per_epoch,
            "about": describe(run),
            "settings": settings,
            "optimizers": {each: entry.settings.get("lr") for each, entry in OPTIMIZERS.items()},
            "names": list(run.config["data"]["classes"]) if opened.shape else [],
            "shape": opened.shape,
            "notes": replay.notes,
        }, [history.tobytes()]

    def _image(self, name: str, number: int) -> Answer:
        image, label = self._open(name).image(number)
        return {"number": number, "label": label}, [np.ascontiguousarray(image).tobytes()]

    # A step

    def _request(self, page: int, number: int) -> Any:
        """Register a page's request, and return a function that tells whether there is a newer one."""
        with self._lock:
            self._newest[page] = max(number, self._newest.get(page, number))
            self._newest.move_to_end(page)
            while len(self._newest) > MAX_PAGES:
                self._newest.popitem(last=False)
        return lambda: self._newest.get(page, number) != number

    def _seek(self, opened: OpenRun, step: int, is_old: Any) -> None:
        def canceled() -> bool:
            opened.here = opened.replay.step
            return bool(is_old())

        if is_old():
            raise CanceledError
        opened.replay.seek(step, canceled)
        opened.here = step

    def _step(self, name: str, step: int, page: int, number: int, buffers: list[bytes]) -> Answer:
        is_old = self._request(page, number)
        opened = self._open(name)
        image = _image_of(buffers, opened.shape)
        with opened.lock:
            self._seek(opened, step, is_old)
            replay = opened.replay
            network, model = replay.trainer.network, opened.run.model
            epoch, position = replay.segment_of(step).position(step)
            sheet = weights_sheet(network, opened.shape)
            loss = replay.losses.get(step, math.nan)
            content: dict[str, Any] = {
                "epoch": epoch,
                "position": position,
                "steps_per_epoch": replay.segment_of(step).steps_per_epoch,
                "rate": replay.trainer.optimizer.param_groups[0]["lr"],
                "loss": finite(loss),
                "digest": weights_digest(network),
                "gradients": {key: finite(rms([gradient])) for key, gradient in replay.gradients().items()},
                "bars": None,
                "sheet": sheet.describe(),
                "notes": replay.notes,
                "code": CODE.format(folder=str(opened.run.folder), step=step),
            }
            if image is not None:
                with no_grad(), restore_modes(network):
                    outputs = network.eval()(models.images_to_inputs(from_numpy(image[None])))
                    content["bars"] = [finite(float(value)) for value in model.probabilities(outputs).numpy()[0]]
            return content, [sheet.values.tobytes(), _curve(replay.losses).tobytes()]

    def _measure(self, name: str, step: int, page: int, number: int) -> Answer:
        is_old = self._request(page, number)
        opened = self._open(name)
        with opened.lock:
            self._seek(opened, step, is_old)
            weights = {key: t.numpy().copy() for key, t in opened.replay.trainer.network.state_dict().items()}
        metrics = opened.metrics(step, weights)
        return {"metrics": {key: finite(value) for key, value in metrics.items()}}, []

    # Forks and races

    def _fork(self, name: str, step: int, settings: dict[str, Any], race: bool, closes: int) -> Answer:
        opened = self._open(name)
        with opened.lock:
            return self.races.start(name, opened.replay, step, settings, race, closes)


def stamp(run: Run) -> tuple[tuple[int, int], ...]:
    """Return the times and sizes of the files that change when a run is trained further or changed."""
    files = (run.config_file, run.folder / "metrics.jsonl", run.checkpoint_file)
    states = [file.stat() if file.exists() else None for file in files]
    return tuple((0, 0) if state is None else (state.st_mtime_ns, state.st_size) for state in states)


def _read(picture: bytes) -> Answer:
    """Return a drawing as an input of the network: 28×28, by the steps of `chainrule predict`.

    Raises:
        PictureError: the bytes are not a picture.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "drawing.png"
        file.write_bytes(picture)
        try:
            return {"blank": False}, [prepare(file, "the drawing").result.tobytes()]
        except BlankPictureError:
            return {"blank": True}, []


def _image_of(buffers: list[bytes], shape: tuple[int, ...] | None) -> NDArray[np.uint8] | None:
    """Return the image in a message; None if there is none, or the run does not read images.

    Raises:
        RunError: the image does not have the size of the run's images.
    """
    if not buffers or shape is None:
        return None
    if len(buffers) != 1 or len(buffers[0]) != math.prod(shape):
        raise RunError(f"an image of {'×'.join(map(str, shape))} values is needed, not {len(buffers[0]):,} bytes")
    return np.frombuffer(buffers[0], np.uint8).reshape(shape)


def _curve(losses: dict[int, float]) -> NDArray[np.float32]:
    """Return the losses of the replayed steps in groups, as points (N, 2): a group's last step, and its mean loss."""
    steps = np.array(sorted(losses), np.int64)
    if not len(steps):
        return np.empty((0, 2), np.float32)
    values = np.array([losses[step] for step in steps.tolist()])
    width = max(1, math.ceil(int(steps[-1]) / MAX_POINTS))
    groups = np.unique(steps // width, return_index=True)[1]
    counts = np.diff([*groups, len(steps)])
    means = np.add.reduceat(values, groups) / counts
    return np.stack([steps[groups + counts - 1], means], axis=1).astype(np.float32)
