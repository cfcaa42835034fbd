"""Views: Tensors that see the memory of another, and how a change in place reaches them all.

Without recording, a change in place writes into memory, so every Tensor on that memory sees it. A change that is
recorded must not: operations before it have saved the old array for their derivatives. It computes a new value instead,
and `change` hands that to every Tensor on the old memory. A view is a part of its root, so a change of the view is one
of the root, and the other views are taken from the new root again. Values and gradients are those of PyTorch, which
writes into memory and gives the views new histories.

Where a change reads memory that it writes (`a[1:] += a[:-1]`, `a.copy_(a.T)`), it reads all of it first, as in NumPy:
the result is that of `a[:-1].clone()`, which PyTorch asks for.

Tensors that share memory without a common history (`detach()`, a Parameter made of a Tensor) get the new values and
keep their own histories.
"""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import ref

import numpy as np

from chainrule.autograd import tape
from chainrule.autograd.mode import mode, no_grad
from chainrule.ops.indexing import diagonal_index, getitem, index_put, is_basic, main_diagonal
from chainrule.ops.shape import broadcast_to, permute, reshape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.ops.operation import Operation
    from chainrule.tensor import Tensor

    Steps: TypeAlias = tuple[tuple[Operation[...], dict[str, Any]], ...]
    View: TypeAlias = tuple[Tensor, Steps]  # a root, and the operations that show a part of it


class Aliases:
    """The Tensors on the same memory, in the order in which they came to it.

    Attributes:
        references: weak ones; those to Tensors that are gone are removed when the list has doubled.
        limit: the length at which that happens.
    """

    __slots__ = ("limit", "references")

    def __init__(self, first: Tensor) -> None:
        self.references = [ref(first)]
        self.limit = 32

    def alive(self) -> list[Tensor]:
        """Those that still exist."""
        return [tensor for reference in self.references if (tensor := reference()) is not None]

    def shorten(self) -> None:
        """Remove the references to Tensors that are gone."""
        self.references = [reference for reference in self.references if reference() is not None]
        self.limit = max(32, 2 * len(self.references))


def track(out: Tensor, source: Tensor, array: Any, operation: Operation[...], options: dict[str, Any]) -> None:
    """Note that a new Tensor is a view of another, if the operation has given one.

    Args:
        out: the operation's result.
        source: its input.
        array: the input's array.
        operation: one that may give a view.
        options: its options.
    """
    if mode.trace is None:
        seen = out._data.base is not None and _seen_in(out._data, array, operation, options)
    else:
        seen = out._data.base is not None
    if not seen:
        return
    view = source._view
    out._view = (source, ((operation, options),)) if view is None else (view[0], (*view[1], (operation, options)))
    share(out, source)


def _seen_in(part: Any, array: Any, operation: Operation[...], options: dict[str, Any]) -> bool:
    """Whether an operation's result is a part of an array's memory; nothing is a part of any, if no array picks it."""
    if part.size:
        return np.may_share_memory(part, array)
    return operation is not getitem or is_basic(options["index"])


def share(tensor: Tensor, source: Tensor) -> None:
    """Note that a new Tensor is on the memory of another."""
    tensor._version, aliases = source._version, source._aliases
    if aliases is None:
        aliases = source._aliases = Aliases(source)
    tensor._aliases = aliases
    aliases.references.append(ref(tensor))
    if len(aliases.references) > aliases.limit:
        aliases.shorten()


def share_detached(tensor: Tensor, source: Tensor) -> None:
    """Note that a new Tensor is on the memory of another, and sees the same part of it, without its history."""
    if source._view is not None:
        root, steps = source._view
        own_root = root._wrap(root._data)
        share_detached(own_root, root)
        tensor._view = own_root, steps
    share(tensor, source)


def root_of(tensor: Tensor) -> Tensor:
    """The Tensor that this is a view of; itself if it is none."""
    return tensor if tensor._view is None else tensor._view[0]


def change(tensor: Tensor, compute: Callable[[], Tensor]) -> None:
    """Give a Tensor a new value with its history, and show it to all others on the same memory.

    Args:
        tensor: what is changed.
        compute: computes the new value.

    Raises:
        RuntimeError: the Tensor shows an element several times, or is a view by an operation that is not known here.
    """
    root, steps = tensor._view or (tensor, ())
    if mode.trace is not None:
        everyone = (root, *(tensor._aliases.alive() if tensor._aliases is not None else ()))
        if any(type(one._data) is np.ndarray for one in everyone):
            mode.trace.refuse("a recorded change in place of a tensor from outside, which would keep its history,")
    if tensor._aliases is None:  # nobody else is on this memory
        new = compute()
        _take(tensor, _laid_out(new._data, tensor._data), new._node)
        tensor._version = new._version
        return
    aliases = tensor._aliases.alive()
    before = tensor._version
    _count_anew(aliases, [0])  # so that the operations below, which save the old value, do not mind the change
    try:
        whole = _put_back(root, steps, compute())
    except BaseException:
        _count_anew(aliases, before)
        raise
    had_node = root._node is not None
    _take(root, _laid_out(whole._data, root._data), whole._node)
    _count_anew(aliases, whole._version)
    for other in aliases:
        if other is root:
            continue
        own_root, own_steps = other._view or (other, ())
        if own_root is root and not (had_node and other._node is None):
            part = _shown(root, own_steps)
            _take(other, part._data, part._node)
        else:  # a view taken under `no_grad`, or a history of its own
            with no_grad():
                other._data = _shown(root, own_steps)._data
            before[0] += isinstance(other._node, tape.Node)  # its derivative may need the value that it had


def _count_anew(tensors: Sequence[Tensor], version: list[int]) -> None:
    """Give Tensors on the same memory another count of changes."""
    for tensor in tensors:
        tensor._version = version


def shows(view: Tensor, source: Tensor, index: Any) -> bool:
    """Whether a Tensor is what an index shows of another, so that assigning it there changes nothing."""
    if view._view is None or (view._node is None) != (source._node is None) or not is_basic(index):
        return False
    root, steps = source._view or (source, ())
    own_root, (*before, (operation, options)) = view._view
    same = own_root is root and len(before) == len(steps) and all(map(is_, before, steps))
    return same and operation is getitem and bool(options["index"] == index)


def leave(tensor: Tensor) -> None:
    """Note that a Tensor is about to get memory of its own; the views of it stay on the old."""
    if tensor._aliases is None:
        return
    left = tensor._wrap(tensor._data)
    left._node, left._version, left._view, left._aliases = tensor._node, tensor._version, tensor._view, tensor._aliases
    left._aliases.references.append(ref(left))
    for other in tensor._aliases.alive():
        if other._view is not None and other._view[0] is tensor:
            other._view = left, other._view[1]
    left._aliases.references = [reference for reference in left._aliases.references if reference() is not tensor]
    tensor._view = tensor._aliases = None


def _take(tensor: Tensor, data: Any, node: tape.Node | tape.Leaf | None) -> None:
    """Give a Tensor other data and another place on the tape."""
    before = tensor._node
    tensor._data, tensor._node = data, node
    if before is not node and isinstance(before, tape.Node) and before.hooks and before.hooks.pop(tape.RETAIN, None):
        tensor.retain_grad()  # of what this Tensor is now


def _laid_out(data: Any, like: Any) -> Any:
    """An array in the memory layout of another, so that a reshape that gave a view of that gives one of this."""
    if mode.trace is not None:  # of which a Tracer has its own idea
        return mode.trace.match_layout(data, like)
    if data.strides == like.strides:
        return data
    out = np.empty_like(like)
    out[...] = data
    return out


def _shown(root: Tensor, steps: Steps) -> Tensor:
    """What a view shows of its root."""
    for operation, options in steps:
        root = operation(root, **options)
    return root


def _put_back(root: Tensor, steps: Steps, part: Tensor) -> Tensor:
    """The root's new value, if the new value of what the steps show of it is `part`."""
    sources = [_shown(root, steps[:i]) for i in range(len(steps))]
    for source, (operation, options) in zip(reversed(sources), reversed(steps), strict=True):
        if operation is getitem:
            part = index_put(source, part, index=options["index"])
        elif operation is main_diagonal:
            part = index_put(source, part, index=diagonal_index(source.shape[-1]))
        elif operation is reshape or (operation is broadcast_to and part.numel() == source.numel()):
            part = reshape(part, shape=source.shape)
        elif operation is permute:  # the way back of the values is that of the gradient
            part = operation.rule(part, options.get("dims"))  # type: ignore[misc]  # it has one
        else:
            shown = "shows an element several times" if operation is broadcast_to else f"is a view by {operation.name}"
            raise RuntimeError(f"a tensor that {shown} cannot be changed in place: change a clone() of it")
    return part
