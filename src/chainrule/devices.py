"""Devices. The only one is the CPU: scripts that name it run unchanged; other devices are refused."""

from __future__ import annotations

from typing import Any

from chainrule.errors import type_name

_OTHER_DEVICES = ("cuda", "hpu", "ipu", "meta", "mps", "mtia", "vulkan", "xla", "xpu")
"""PyTorch's other devices, whose names are not names of dtypes."""


class device:  # noqa: N801  # PyTorch's name
    """The CPU, as `device("cpu")`. Scripts may choose `"cuda" if cuda.is_available() else "cpu"`: that is "cpu" here.

    Args:
        type: "cpu" or "cpu:0", or a device to copy.

    Attributes:
        type: "cpu".
        index: None, or 0 for "cpu:0".

    Raises:
        ValueError: a device other than the CPU.
        TypeError: neither a string nor a device.
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
    """Raise an error unless the value is None or the CPU; see `device`."""
    if value is not None and value is not CPU:
        device(value)


def is_device(value: Any) -> bool:
    """Return whether this is a device or the name of one, rather than a dtype."""
    return isinstance(value, device) or (isinstance(value, str) and value.partition(":")[0] in ("cpu", *_OTHER_DEVICES))


def target_dtype(owner: str, arguments: tuple[Any, ...], device: Any, dtype: Any) -> Any:
    """Return the dtype among the arguments of `to(...)`, or None; check the device among them.

    Args:
        owner: the calling function's name, for errors.
        arguments: a device, a dtype, both in this order, or a Tensor, whose dtype is used.
        device: the keyword argument, or None.
        dtype: the keyword argument, or None.

    Raises:
        TypeError: any other arguments, or a device or dtype that is passed twice.
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
