"""Watches a traced call with Python's profiler: which functions it runs, and which results no guard can check.

The bytecode of a function does not lead to every function that it runs: some are looked up by name or generated. The
profiler reports those to the `Observer`. It also shows calls whose results may differ each time, such as reading the
clock or a file: after one of these, the trace is not kept, and `unguarded_action` says which.
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

from chainrule.capture.frames import is_chainrule, is_in_compiler, is_installed, is_stdlib_or_numpy

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
"""C functions whose results no guard can check; they count only where user code itself calls them."""
_IMPURE_ANYWHERE = {
    "builtins": ("open", "input"),
    "os": (
        "open", "read", "stat", "lstat", "fstat", "statvfs", "access", "listdir", "scandir", "readlink", "getcwd",
        "urandom", "getrandom",
    ),
    "_uuid": ("generate_time_safe",),
    "numpy": ("fromfile",),
}  # fmt: skip
"""C functions whose results no guard can check; they also count where a library calls them for user code."""
_DATES = {"now", "utcnow", "today"}
"""Methods of `datetime.date` and its subclasses that read the clock."""
_USER_CODE, _METHOD, _COPY, _IMPORT = "the user's", "a library's method", "copy", "import"
_SPECIAL = {
    id(copy.copy.__code__): _COPY,
    id(copy.deepcopy.__code__): _COPY,
    id(importlib.import_module.__code__): _IMPORT,
}
ENVIRONMENT: Any = type(os.environ)
_ENVIRONMENT_CODE = {id(part.__code__) for part in vars(ENVIRONMENT).values() if isinstance(part, FunctionType)}
_UNRELATED = ("<frozen importlib", "linecache.py", "logging" + os.sep, "warnings.py", "traceback.py")
"""Code of the standard library that reads files and the clock for its own purposes."""


class Calls:
    """Profiles the current thread during a trace.

    Attributes:
        unguarded_action: the first call or action whose result no guard can check, or None.
    """

    def __init__(self, observer: Observer) -> None:
        self.unguarded_action: str | None = None
        self._observer = observer
        self._kinds: dict[int, str] = {}  # kinds of code that has run, by identity
        self._codes: list[CodeType] = []  # references that keep these identities valid
        self._impure_anywhere = _functions(_IMPURE_ANYWHERE)
        self._impure = self._impure_anywhere | _functions(_IMPURE_IN_USER_CODE)
        self._profiler: Any = self._event  # one object, which can be compared by identity
        self._previous: Any = None  # the user's profiler
        self._is_active = self._is_replaced = False

    def start(self) -> None:
        """Install the profiler. The user's profiler still gets its events, except `cProfile` before Python 3.12."""
        self._previous = sys.getprofile()
        is_c_profiler = self._previous is not None and not callable(self._previous)
        if is_c_profiler and not hasattr(self._previous, "disable"):
            kind = type(self._previous).__qualname__
            self.unguarded_action = f"a profiler ({kind}) is active that cannot be restored"
            return
        self._is_active = True  # first, because an interrupt may come in between
        if is_c_profiler:
            self._previous.disable()
        sys.setprofile(self._profiler)

    def stop(self) -> None:
        """Remove the profiler and restore the user's."""
        if not self._is_active:
            return
        current = sys.getprofile()
        if self._is_replaced or current is not self._profiler:  # some events were missed
            self.unguarded_action = self.unguarded_action or "it sets a profiler"
        if current is self._profiler or (current is None and not self._is_replaced):  # an interrupt may have removed it
            if self._previous is None or callable(self._previous):
                sys.setprofile(self._previous)
            else:
                self._previous.enable()
        self._is_active = False  # last, because an interrupt may come in between

    def paused(self, runs_only_chainrule: bool = True) -> AbstractContextManager[None]:
        """Pause the profiler in a `with` block, for speed.

        Args:
            runs_only_chainrule: whether the code inside runs no user code. Otherwise this does nothing.
        """
        return _Pause(self._profiler) if runs_only_chainrule and not callable(self._previous) else nullcontext()

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            code = frame.f_code
            kind = self._kinds.get(id(code))
            if kind is None:
                kind = self._kinds[id(code)] = self._kind(code)
                if kind is _USER_CODE and not (
                    frame.f_back is not None and is_in_compiler(frame.f_back.f_code.co_filename)
                ):
                    self._observer.enter(frame)
            if kind is _METHOD:
                self._library_method(frame)
            elif kind is _IMPORT:
                self._record_impure_call("importlib.import_module", frame.f_back, only_in_user_code=True)
            elif kind is _COPY and _user_frame(frame) is not None:
                self._observer.before_copy(frame.f_locals["x"])
        elif event == "c_call" and (argument in self._impure or argument.__name__ in _DATES):
            name = self._impure.get(argument) or _date_method(argument)
            self._record_impure_call(name, frame, only_in_user_code=argument not in self._impure_anywhere)
        elif event == "c_call" and argument is sys.setprofile and not is_chainrule(frame.f_code.co_filename):
            self._is_replaced = True
        if callable(self._previous):
            self._previous(frame, event, argument)

    def _kind(self, code: CodeType) -> str:
        self._codes.append(code)
        if is_chainrule(code.co_filename):
            return ""
        if not is_stdlib_or_numpy(code.co_filename):
            return _USER_CODE
        if code.co_argcount and code.co_varnames[0] == "self":
            return _METHOD
        return _SPECIAL.get(id(code), "")

    def _library_method(self, frame: FrameType) -> None:
        """Handle the start of a standard-library method."""
        if id(frame.f_code) in _ENVIRONMENT_CODE:
            if _user_frame(frame) is not None:
                self._observer.track_environment()
        elif frame.f_back is not None and _user_frame(frame.f_back) is frame.f_back:
            self._observer.before_library_method(frame.f_locals.get("self"))

    def _record_impure_call(self, name: str | None, caller: FrameType | None, only_in_user_code: bool) -> None:
        """Record a call whose result no guard can check; with `only_in_user_code`, only if user code makes it."""
        frame = None if name is None else _user_frame(caller)
        if frame is not None and (frame is caller or not only_in_user_code):
            line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            self.unguarded_action = (
                self.unguarded_action or f"it calls {name}(), whose result may differ in each call ({line})"
            )


class _Pause:
    """Removes a profiler inside a `with` block, if it is active."""

    def __init__(self, profiler: Any) -> None:
        self._profiler = profiler

    def __enter__(self) -> None:
        self._is_active = sys.getprofile() is self._profiler
        if self._is_active:
            sys.setprofile(None)

    def __exit__(self, *_: object) -> None:
        if self._is_active:
            sys.setprofile(self._profiler)


def _user_frame(frame: FrameType | None) -> FrameType | None:
    """The user's frame that calls into library code; None if chainrule or the library itself is the caller."""
    while frame is not None:
        code, file = frame.f_code, frame.f_code.co_filename
        if is_chainrule(file) or any(part in file for part in _UNRELATED) or code.co_name == "<module>":
            return None  # an import runs a module only once
        if not (is_stdlib_or_numpy(file) or is_installed(file)):
            return frame
        frame = frame.f_back
    return None


def _date_method(function: Any) -> str | None:
    """The name of a C method of a date class, such as "datetime.now"; else None."""
    cls = getattr(function, "__self__", None)
    if isinstance(cls, type) and issubclass(cls, datetime.date):
        return f"{cls.__qualname__}.{function.__name__}"
    return None


def _functions(names: Mapping[str, tuple[str, ...]]) -> dict[Any, str]:
    """Return the named functions of imported modules, each with its name, such as "time.time"."""
    result = {}
    for module, members in names.items():
        for member in members if module in sys.modules else ():
            value: Any = sys.modules[module]
            for part in member.split("."):
                value = getattr(value, part, None)
            result[value] = member if module == "builtins" else f"{module}.{member}"
    return result
