"""Watches a traced call through Python's profiling hook: which functions it runs, and which results no guard can check.

The bytecode of a function does not lead to every function that it runs: some are looked up by name or generated.
`Calls` reports these to the `Observer` when they start. It also notices calls whose results may differ each time, such
as reading the clock or a file: after such a call, the trace is not kept, and `retrace_reason` names the call.
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
"""C functions whose results no guard can check, by module; they count only where user code itself calls them."""

_IMPURE_ANYWHERE = {
    "builtins": ("open", "input"),
    "os": (
        "open", "read", "stat", "lstat", "fstat", "statvfs", "access", "listdir", "scandir", "readlink", "getcwd",
        "urandom", "getrandom",
    ),
    "_uuid": ("generate_time_safe",),
    "numpy": ("fromfile",),
}  # fmt: skip
"""C functions whose results no guard can check, by module; they count also where a library calls them for user code."""

_CLOCK_METHODS = {"now", "utcnow", "today"}
"""Methods of `datetime.date` and its subclasses that read the clock."""

# The kinds of code that `Calls` handles; all other code has the kind "".
_USER_CODE = "user code"
_LIBRARY_METHOD = "a method of the standard library or NumPy"
_COPY = "a function of the module copy"
_IMPORT = "importlib.import_module"
_SPECIAL_KINDS = {
    id(copy.copy.__code__): _COPY,
    id(copy.deepcopy.__code__): _COPY,
    id(importlib.import_module.__code__): _IMPORT,
}
"""The kinds of some functions' code, by identity of the code."""

ENVIRONMENT: Any = type(os.environ)
"""The class of `os.environ`."""

_ENVIRONMENT_CODE = {id(part.__code__) for part in vars(ENVIRONMENT).values() if isinstance(part, FunctionType)}
"""The code of its methods, by identity."""

_UNRELATED_FILES = ("<frozen importlib", "linecache.py", "logging" + os.sep, "warnings.py", "traceback.py")
"""Parts of the names of standard-library files whose code reads files and the clock for its own purposes."""


class Calls:
    """Installs a profiler in the current thread during a trace, and handles its events.

    Attributes:
        retrace_reason: why the trace cannot be kept as a program, as a clause for a warning ("it calls open(), …"), or
            None.
    """

    def __init__(self, observer: Observer) -> None:
        self.retrace_reason: str | None = None
        self._observer = observer
        self._kinds: dict[int, str] = {}  # the kind of each code that has run, by its identity
        self._codes: list[CodeType] = []  # references, which keep these identities unique
        self._impure_anywhere = _functions(_IMPURE_ANYWHERE)
        self._impure = self._impure_anywhere | _functions(_IMPURE_IN_USER_CODE)
        self._profiler: Any = self._handle_event  # kept, because each read of `_handle_event` gives a new object
        self._user_profiler: Any = None
        self._is_active = False  # whether `start` has installed the profiler, and `stop` has not yet removed it
        self._is_replaced = False  # whether the traced function has called sys.setprofile

    def set_retrace_reason(self, reason: str) -> None:
        """Record why the trace cannot be kept; the first reason counts."""
        self.retrace_reason = self.retrace_reason or reason

    def start(self) -> None:
        """Install the profiler. A profiler of the user's gets its events too, except `cProfile` before Python 3.12."""
        self._user_profiler = sys.getprofile()
        is_c_profiler = self._user_profiler is not None and not callable(self._user_profiler)
        if is_c_profiler and not hasattr(self._user_profiler, "disable"):
            kind = type(self._user_profiler).__qualname__
            self.set_retrace_reason(f"a profiler ({kind}) is active that cannot be restored")
            return
        self._is_active = True  # before installing it, because an interrupt may come in between
        if is_c_profiler:
            self._user_profiler.disable()
        sys.setprofile(self._profiler)

    def stop(self) -> None:
        """Remove the profiler, and restore the user's if there was one."""
        if not self._is_active:
            return
        current = sys.getprofile()
        if self._is_replaced or current is not self._profiler:  # some events were missed
            self.set_retrace_reason("it sets a profiler")
        # without a call of sys.setprofile, None means that an interrupt has removed it
        if current is self._profiler or (current is None and not self._is_replaced):
            if self._user_profiler is None or callable(self._user_profiler):
                sys.setprofile(self._user_profiler)
            else:
                self._user_profiler.enable()
        self._is_active = False  # after removing it, because an interrupt may come in between

    def paused(self, runs_only_chainrule: bool = True) -> AbstractContextManager[None]:
        """Return a context manager that pauses the profiler, for speed.

        It does nothing while a Python profiler of the user's needs the events.

        Args:
            runs_only_chainrule: whether the block runs no user code; if False, the profiler is not paused.
        """
        return _Pause(self._profiler) if runs_only_chainrule and not callable(self._user_profiler) else nullcontext()

    def _handle_event(self, frame: FrameType, event: str, argument: Any) -> None:
        """Handle an event of the profiler. `argument` is the called function if `event` is "c_call"."""
        if event == "call":
            code = frame.f_code
            kind = self._kinds.get(id(code))
            if kind is None:
                kind = self._kinds[id(code)] = self._kind(code)
                # Functions that the compiler calls are not examined here: generated code, such as a dataclass's
                # `__init__`, needs no guards, and a formula is examined with its operation.
                is_called_by_compiler = frame.f_back is not None and is_in_compiler(frame.f_back.f_code.co_filename)
                if kind is _USER_CODE and not is_called_by_compiler:
                    self._observer.enter_function(frame)
            if kind is _LIBRARY_METHOD:
                self._handle_library_method(frame)
            elif kind is _IMPORT:
                self._record_impure_call("importlib.import_module", frame.f_back, only_in_user_code=True)
            elif kind is _COPY and _user_frame(frame) is not None:
                self._observer.before_copy(frame.f_locals["x"])
        elif event == "c_call" and (argument in self._impure or argument.__name__ in _CLOCK_METHODS):
            name = self._impure.get(argument) or _date_method(argument)
            self._record_impure_call(name, frame, only_in_user_code=argument not in self._impure_anywhere)
        elif event == "c_call" and argument is sys.setprofile and not is_chainrule(frame.f_code.co_filename):
            self._is_replaced = True
        if callable(self._user_profiler):
            self._user_profiler(frame, event, argument)

    def _kind(self, code: CodeType) -> str:
        """Return the kind of code that runs for the first time, and keep a reference to it."""
        self._codes.append(code)
        if is_chainrule(code.co_filename):
            return ""
        if not is_stdlib_or_numpy(code.co_filename):
            return _USER_CODE
        if code.co_argcount and code.co_varnames[0] == "self":
            return _LIBRARY_METHOD
        return _SPECIAL_KINDS.get(id(code), "")

    def _handle_library_method(self, frame: FrameType) -> None:
        """Handle the start of a method of the standard library or NumPy."""
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
            self.set_retrace_reason(f"it calls {name}(), whose result may differ in each call ({line})")


class _Pause:
    """Removes a profiler inside a `with` block, if it is the active one."""

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
    """Return the innermost user frame from `frame` outwards.

    None if the library code in between does not act for user code: chainrule has called it, it imports a module, or it
    writes a message.
    """
    while frame is not None:
        code, file = frame.f_code, frame.f_code.co_filename
        if is_chainrule(file) or any(part in file for part in _UNRELATED_FILES) or code.co_name == "<module>":
            return None  # "<module>": an import, which runs a module only once
        if not (is_stdlib_or_numpy(file) or is_installed(file)):
            return frame
        frame = frame.f_back
    return None


def _date_method(function: Any) -> str | None:
    """Return the name of a C method of a date class, such as "datetime.now"; None for other functions."""
    cls = getattr(function, "__self__", None)
    if isinstance(cls, type) and issubclass(cls, datetime.date):
        return f"{cls.__qualname__}.{function.__name__}"
    return None


def _functions(names: Mapping[str, tuple[str, ...]]) -> dict[Any, str]:
    """Return the functions that `names` lists by module, each with its name, such as "time.time".

    Modules that are not imported are left out.
    """
    result = {}
    for module, members in names.items():
        for member in members if module in sys.modules else ():
            value: Any = sys.modules[module]
            for part in member.split("."):
                value = getattr(value, part, None)
            result[value] = member if module == "builtins" else f"{module}.{member}"
    return result
