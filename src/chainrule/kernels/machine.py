"""From a kernel to machine code: LLVM compiles it, the result is cached on disk, and later processes only link it.

A kernel is identified by its **key**, a text that states everything the kernel depends on. Cached files are in the
folder `kernels` of the user's cache. A file's name is a digest of the key, the processor, the compiler's version and
the sources of `kernels` and `lower`. The file also stores the digested text and a checksum, so neither a damaged nor a
renamed file is run. Machine code is run without further checks, so a folder or file is used only if it belongs to
this user (or root) and nobody else can write to it. When the folder exceeds FOLDER_BYTES, the least recently used files
are removed.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import stat
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from chainrule.errors import PACKAGE_FOLDER
from chainrule.files import atomic_write, cache_folder, open_regular
from chainrule.kernels import processor
from chainrule.kernels.calling import ARGUMENTS
from chainrule.kernels.processor import CannotCompileError, KernelRejectedError, llvm_binding

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.kernels.tree import Kernel

    Build = Callable[[], Kernel]

Function = TypeVar("Function", bound="Callable[..., Any]")

FOLDER_BYTES = 256 * 2**20  # the largest total size of the cached files
_CHECKSUM_BYTES = 32  # of SHA-256
_SECONDS_PER_DAY = 86_400.0

_addresses: dict[str, int] = {}  # of machine code in memory, by key
_engines: list[Any] = []  # LLVM's execution engines: each owns its machine code in memory
_rejections: dict[str, KernelRejectedError] = {}  # by key
_available = True

_lock = threading.RLock()
"""Held while a kernel is built and compiled. The builder of a kernel that several kernels call is decorated with
`cache`, which may call the builder twice if two threads build at once. A kernel could then refer, through the kernels
that it calls, to two copies of the same kernel, and LLVM rejects a module with both.
"""


def available() -> bool:
    """Whether kernels can be compiled, as far as is known: True until LLVM or BLAS has failed."""
    return _available


def warn_and_fall_back(error: CannotCompileError, name: str) -> None:
    """Warn that the function of this name runs in NumPy.

    Unless LLVM rejects only one kernel, nothing is compiled from now on, and the warning is given once.
    """
    global _available
    if isinstance(error, KernelRejectedError):
        effect = f"{name} runs in NumPy, more slowly, because LLVM rejects one of its loops"
    elif _available:
        _available = False
        effect = "LLVM cannot be used here, so kernels and compiled functions run in NumPy, more slowly"
    else:
        return
    reason = str(error).strip().partition("\n")[0]
    stack_level = 1
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE_FOLDER):
        stack_level += 1
        frame = frame.f_back
    warnings.warn(f"{effect}: {reason}", RuntimeWarning, stacklevel=stack_level)  # points to the user's line


def with_numpy_fallback(numpy_version: Callable[..., Any]) -> Callable[[Function], Function]:
    """Decorator of a function that runs kernels: `numpy_version` is called instead where they cannot be compiled."""

    def decorate(compiled_version: Function) -> Function:
        reported_errors: set[str] = set()

        @functools.wraps(compiled_version)
        def run(*arguments: Any, **options: Any) -> Any:
            if available():
                try:
                    return compiled_version(*arguments, **options)
                except CannotCompileError as error:
                    if str(error) not in reported_errors:
                        reported_errors.add(str(error))
                        warn_and_fall_back(error, compiled_version.__name__)
            return numpy_version(*arguments, **options)

        return cast("Function", run)

    return decorate


def address_of(key: str, build: Build) -> int:
    """The address of a kernel's machine code: in memory, from the disk cache, or compiled now.

    Args:
        key: a text that states everything the kernel depends on.
        build: builds the kernel; called only if it must be compiled.

    Raises:
        CannotCompileError: LLVM is missing or broken.
        KernelRejectedError: LLVM rejects the kernel.
    """
    if key not in _addresses:
        with _lock:
            if key in _rejections:
                raise _rejections[key]
            try:
                _addresses[key] = _addresses.get(key) or _load_or_compile(key, build)  # another thread may have done it
            except KernelRejectedError as error:
                _rejections[key] = error
                raise
    return _addresses[key]


def function(address: int) -> Callable[..., None]:
    """A Python function that calls a kernel with six integers or addresses, and releases the GIL meanwhile."""
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(ARGUMENTS))(address)


def _load_or_compile(key: str, build: Build) -> int:
    """Link a kernel from the disk cache, or compile it and cache it."""
    identity = f"{_machine()} {key}".encode()
    digest = hashlib.sha256(identity).hexdigest()[:40]
    if (cached := _read(digest, identity)) is not None:
        return _link(*cached)
    kernel = build()
    code = _compile(kernel)
    _write(digest, identity, kernel.name, code)
    return _link(kernel.name, code)


def _compile(kernel: Kernel) -> bytes:
    """Compile a kernel to an object file."""
    from chainrule.kernels.llvm import render  # not needed by a process that finds all its kernels on disk

    binding, target = llvm_binding(), _target()
    try:
        # use 512-bit vectors wherever they exist; by default, LLVM prefers 256 bits on some processors with AVX-512
        module = binding.parse_assembly(render(kernel, '"prefer-vector-width"="512"'))
        module.triple = binding.get_process_triple()
        module.data_layout = str(target.target_data)
        options = binding.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = True
        passes = binding.create_pass_builder(target, options)
        passes.getModulePassManager().run(module, passes)
        return bytes(target.emit_object(module))
    except RuntimeError as error:
        raise KernelRejectedError(f"{kernel.name}: {error}") from error


def _link(name: str, code: bytes) -> int:
    """Link an object file into the process, and return the address of its function of this name."""
    binding = llvm_binding()
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _target())
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return int(engine.get_function_address(name))


def _target() -> Any:
    """A new target machine of LLVM for this processor: an execution engine owns its target machine, and frees it."""
    binding = llvm_binding()
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    cpu, features = _target_settings()
    return binding.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


@functools.cache
def _target_settings() -> tuple[str, str]:
    """LLVM's name of the processor, and a text with its features."""
    binding = llvm_binding()
    try:
        features = binding.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot detect them here
        features = ""
    return binding.get_host_cpu_name(), features


@functools.cache
def _machine() -> str:
    """What machine code depends on besides the key: processor, compiler, and the sources that build kernels."""
    from importlib.metadata import version  # slow to import

    digest = hashlib.sha256()
    package = Path(__file__).parent.parent
    for source in sorted([*package.glob("kernels/*.py"), *package.glob("lower/*.py")]):
        digest.update(source.read_bytes())
    feature_names = [name for name, is_enabled in sorted(processor.features().items()) if is_enabled]
    parts = [llvm_binding().get_process_triple(), *_target_settings(), *feature_names, version("llvmlite")]
    return " ".join([*parts, digest.hexdigest()])


# Files


def _is_trusted(status: os.stat_result) -> bool:
    """Whether a folder or file belongs to this user or root, and nobody else can write to it."""
    if not hasattr(os, "geteuid"):
        return True  # Windows: other users cannot write to a user's profile
    return status.st_uid in (os.geteuid(), 0) and not status.st_mode & 0o022


@functools.cache
def _folder() -> Path | None:
    """The cache folder; None if it cannot be created or must not be trusted."""
    with suppress(OSError):
        folder = cache_folder() / "kernels"
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        status = folder.lstat()  # not stat: a link could lead anywhere
        if stat.S_ISDIR(status.st_mode) and _is_trusted(status):
            return folder
    return None


def _read(digest: str, identity: bytes) -> tuple[str, bytes] | None:
    """The function's name and the machine code in a file; None if the file is missing, damaged or not trusted."""
    if (folder := _folder()) is None:
        return None
    try:
        with open_regular(folder / f"{digest}.code", follow=False) as file:
            status = os.fstat(file.fileno())
            if not _is_trusted(status):
                return None
            content = file.read()
    except OSError:
        return None
    checksum, content = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    prefix = identity + b"\0"
    if hashlib.sha256(content).digest() != checksum or not content.startswith(prefix):
        return None
    _mark_used(folder / f"{digest}.code", status)
    function_name, _, code = content[len(prefix) :].partition(b"\0")
    return function_name.decode(), code


def _mark_used(path: Path, status: os.stat_result) -> None:
    """Set a file's time stamp to now, unless it is less than a day old: `_make_room` removes the oldest files."""
    if time.time() - status.st_mtime > _SECONDS_PER_DAY:
        with suppress(OSError):
            os.utime(path)


def _write(digest: str, identity: bytes, function_name: str, code: bytes) -> None:
    """Cache machine code on disk."""
    if (folder := _folder()) is None:
        return
    content = b"\0".join([identity, function_name.encode(), code])
    with suppress(OSError), atomic_write(folder / f"{digest}.code") as file:  # on a full disk, nothing is cached
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), 0o600)  # regardless of the umask
        file.write(hashlib.sha256(content).digest() + content)
    if digest[0] == "0":  # one kernel in sixteen: looking at all files takes milliseconds
        _make_room(folder)


def _make_room(folder: Path) -> None:
    """Remove the least recently used files, if the folder is too large."""
    with suppress(OSError):
        with os.scandir(folder) as entries:
            files = [(entry.stat(), entry.path) for entry in entries]
        total_bytes = sum(status.st_size for status, _ in files)
        for status, path in sorted(files, key=lambda file: file[0].st_mtime):
            if total_bytes <= FOLDER_BYTES:
                return
            Path(path).unlink()
            total_bytes -= status.st_size


if hasattr(os, "register_at_fork"):  # otherwise the child could inherit a lock whose holder does not exist there
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
