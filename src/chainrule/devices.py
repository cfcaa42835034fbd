"""Devices: there is one, the CPU. Scripts that name it run unchanged; any other is refused."""

from __future__ import annotations

from typing import Any

from chainrule.errors import type_name

_OTHERS = ("cuda", "hpu", "ipu", "meta", "mps", "mtia", "vulkan", "xla", "xpu")
"""Names of PyTorch's other devices, to tell them from names of types."""


class device:  # noqa: N801  # PyTorch's name
    """The CPU, as `device("cpu")`; also where a script chooses `"cuda" if cuda.is_available() else "cpu"`.

    Args:
        type: "cpu", "cpu:0" or another device.

    Attributes:
        type: "cpu".
        index: None, or 0 for "cpu:0".

    Raises:
        ValueError: another device.
        TypeError: not the name of a device.
    """

    def __init__(self, type: str | device) -> None:
        if isinstance(type, device):
            type = str(type)
        if not isinstance(type, str):
            raise TypeError(f'device: takes the name of a device, "cpu", not {type_name(type)}')
        if type not in ("cpu", "cpu:0"):
            raise ValueError(f'device: chainrule computes on the CPU only: use "cpu", not {type!r}')
        self.type, self.index = "cpu", 0 if type == "cpu:0" else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and self.index == other.index

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{index})"


CPU = device("cpu")


def check_device(value: Any) -> None:
    """Refuse a device that is not None and not the CPU."""
    if value is not None and value is not CPU:
        device(value)


def is_device(value: Any) -> bool:
    """Whether this is a device or the name of one, and not a type or the name of one."""
    return isinstance(value, device) or (isinstance(value, str) and value.partition(":")[0] in ("cpu", *_OTHERS))


def target_dtype(owner: str, arguments: tuple[Any, ...], device: Any, dtype: Any) -> Any:
    """Return the type that `to(...)` asks for, or None, after checking the device that it asks for.

    Args:
        owner: the name for errors.
        arguments: a device, a type, both in this order, or a Tensor, whose type counts.
        device: the keyword argument, or None.
        dtype: the keyword argument, or None.

    Raises:
        TypeError: other arguments.
        ValueError: a device other than the CPU.
    """
    rest = list(arguments)
    if rest and (is_device(rest[0]) or rest[0] is None):
        if device is not None:
            raise TypeError(f"{owner}: takes one device, not {rest[0]} and {device}")
        device = rest.pop(0)
    check_device(device)
    if rest and dtype is None:
        dtype = rest.pop(0)
    if rest:
        raise TypeError(f"{owner}: takes a device and a type, not {', '.join(map(repr, arguments))}")
    return dtype.dtype if hasattr(dtype, "requires_grad") else dtype
