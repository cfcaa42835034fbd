"""Which functions a traced call runs, as Python's profiler tells it.

The variables of a function do not lead to every function that it runs: some are found by name, or generated. And what a
function asks of the world outside Python, such as the time or a file, is no variable at all.
"""

from __future__ import annotations

import copy
import datetime
import importlib
import os
import sys
from contextlib import nullcontext
from types import FunctionType
from typing import TYPE_CHECKING, Any

from chainrule.capture.frames import is_chainrule, is_compiler, is_installed, is_library

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from types import CodeType, FrameType

    from chainrule.capture.observe import Observer

_IMPURE_IN_USER_CODE = {
    "builtins": ("globals", "__import__"),
    "time": (
        "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
        "process_time_ns", "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns", "localtime", "gmtime",
        "ctime", "asctime", "strftime",
    ),
    "datetime": ("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    "os": ("times", "getloadavg"),
}  # fmt: skip
"""Functions in C whose answers no guard can compare, where the user's own code calls them."""
_IMPURE_ANYWHERE = {
    "builtins": ("open", "input"),
    "os": (
        "open", "read", "stat", "lstat", "fstat", "statvfs", "access", "listdir", "scandir", "readlink", "getcwd",
        "urandom", "getrandom",
    ),
    "_uuid": ("generate_time_safe",),
    "numpy": ("fromfile",),
}  # fmt: skip
"""The same, also where a library calls them for the user's code."""
_DATES = {"now", "utcnow", "today"}
"""Methods of `datetime.date`, which classes that are derived from it have, too."""
_USERS, _METHOD, _COPY, _IMPORT = "the user's", "a library's method", "copy", "import"
_SPECIAL = {
    id(copy.copy.__code__): _COPY,
    id(copy.deepcopy.__code__): _COPY,
    id(importlib.import_module.__code__): _IMPORT,
}
ENVIRONMENT: Any = type(os.environ)
_ENVIRONMENT_CODE = {id(part.__code__) for part in vars(ENVIRONMENT).values() if isinstance(part, FunctionType)}
_UNRELATED = ("<frozen importlib", "linecache.py", "logging" + os.sep, "warnings.py", "traceback.py")
"""Code of Python's own library that reads files and the time for its own ends."""


class Calls:
    """Watches which functions the current thread runs.

    Attributes:
        outside: the first question to the world outside Python, in the user's words.
    """

    def __init__(self, observer: Observer) -> None:
        self.retrace_reason: str | None = None
        self._observer = observer
        self._kinds: dict[int, str] = {}  # of the functions that have run, by the identity of their code
        self._codes: list[CodeType] = []  # kept, so that an identity stays theirs
        self._impure_anywhere = _functions(_IMPURE_ANYWHERE)
        self._impure = self._impure_anywhere | _functions(_IMPURE_IN_USER_CODE)
        self._profiler: Any = self._event  # one object, by which it is known
        self._previous: Any = None  # the user's profiler
        self._is_active = self._replaced = False

    def start(self) -> None:
        """Begin to watch. The user's profiler sees all the same, unless it is `cProfile` before Python 3.12."""
        self._previous = sys.getprofile()
        in_c = self._previous is not None and not callable(self._previous)
        if in_c and not hasattr(self._previous, "disable"):
            self.retrace_reason = (
                f"a profiler, {type(self._previous).__qualname__}, watches it, and cannot be set again"
            )
            return
        self._is_active = True  # first, for an interrupt may come in between
        if in_c:
            self._previous.disable()
        sys.setprofile(self._profiler)

    def stop(self) -> None:
        """Watch no longer."""
        if not self._is_active:
            return
        current = sys.getprofile()
        if self._replaced or current is not self._profiler:  # so this has not seen all
            self.retrace_reason = self.retrace_reason or "it sets a profiler"
        if current is self._profiler or (current is None and not self._replaced):  # an interrupt may have ended it
            if self._previous is None or callable(self._previous):
                sys.setprofile(self._previous)
            else:
                self._previous.enable()
        self._is_active = False  # last, for an interrupt may come in between

    def paused(self, ours: bool = True) -> AbstractContextManager[None]:
        """Do not watch inside, which takes time, if what runs there is `ours` and runs nothing of the user's."""
        return _Pause(self._profiler) if ours and not callable(self._previous) else nullcontext()

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            code = frame.f_code
            kind = self._kinds.get(id(code))
            if kind is None:
                kind = self._kinds[id(code)] = self._kind(code)
                if kind is _USERS and not (frame.f_back is not None and is_compiler(frame.f_back.f_code.co_filename)):
                    self._observer.enter(frame)
            if kind is _METHOD:
                self._library_method(frame)
            elif kind is _IMPORT:
                self._record_impure_call("importlib.import_module", frame.f_back, directly=True)
            elif kind is _COPY and _users_frame(frame) is not None:
                self._observer.before_copy(frame.f_locals["x"])
        elif event == "c_call" and (argument in self._impure or argument.__name__ in _DATES):
            name = self._impure.get(argument) or _date_method(argument)
            self._record_impure_call(name, frame, directly=argument not in self._impure_anywhere)
        elif event == "c_call" and argument is sys.setprofile and not is_chainrule(frame.f_code.co_filename):
            self._replaced = True
        if callable(self._previous):
            self._previous(frame, event, argument)

    def _kind(self, code: CodeType) -> str:
        self._codes.append(code)
        if is_chainrule(code.co_filename):
            return ""
        if not is_library(code.co_filename):
            return _USERS
        if code.co_argcount and code.co_varnames[0] == "self":
            return _METHOD
        return _SPECIAL.get(id(code), "")

    def _library_method(self, frame: FrameType) -> None:
        """A method of Python's own library begins to run."""
        if id(frame.f_code) in _ENVIRONMENT_CODE:
            if _users_frame(frame) is not None:
                self._observer.track_environment()
        elif frame.f_back is not None and _users_frame(frame.f_back) is frame.f_back:
            self._observer.run_library_method(frame.f_locals.get("self"))

    def _record_impure_call(self, name: str | None, caller: FrameType | None, directly: bool) -> None:
        """A function is called; `directly` says that it counts only if the user's own code calls it."""
        frame = None if name is None else _users_frame(caller)
        if frame is not None and (frame is caller or not directly):
            line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            self.retrace_reason = (
                self.retrace_reason or f"it calls {name}(), which may give something else each time ({line})"
            )


class _Pause:
    """Does without a profiler inside a `with` block, if that is watching."""

    def __init__(self, profiler: Any) -> None:
        self._profiler = profiler

    def __enter__(self) -> None:
        self._is_active = sys.getprofile() is self._profiler
        if self._is_active:
            sys.setprofile(None)

    def __exit__(self, *_: object) -> None:
        if self._is_active:
            sys.setprofile(self._profiler)


def _users_frame(frame: FrameType | None) -> FrameType | None:
    """The user's code that a library's code runs for, if it does not run for ours or for ends of its own."""
    while frame is not None:
        code, file = frame.f_code, frame.f_code.co_filename
        if is_chainrule(file) or any(part in file for part in _UNRELATED) or code.co_name == "<module>":
            return None  # a module runs only once, for whoever imports it first
        if not (is_library(file) or is_installed(file)):
            return frame
        frame = frame.f_back
    return None


def _date_method(function: Any) -> str | None:
    """What the user calls a method in C, if it is one of a class of dates."""
    cls = getattr(function, "__self__", None)
    if isinstance(cls, type) and issubclass(cls, datetime.date):
        return f"{cls.__qualname__}.{function.__name__}"
    return None


def _functions(names: Mapping[str, tuple[str, ...]]) -> dict[Any, str]:
    """Functions of the modules that have been imported, and what the user calls them."""
    result = {}
    for module, members in names.items():
        for member in members if module in sys.modules else ():
            value: Any = sys.modules[module]
            for part in member.split("."):
                value = getattr(value, part, None)
            result[value] = member if module == "builtins" else f"{module}.{member}"
    return result
