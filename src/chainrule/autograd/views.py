"""Views: Tensors that share memory, and in-place changes that all of them see.

Without recording, an in-place change writes into memory, so every Tensor that shares the memory sees it. A recorded
change must not write into memory, because earlier operations may have saved the old array for their derivatives. It
computes a new value instead, and `change` assigns the value to every Tensor that shared the old memory. A view shows a
part of its base, so changing the view changes the base, and the other views are computed again from the new base.
Values and gradients are the same as in PyTorch, which writes into memory and gives the views new histories.

If a change reads memory that it writes (`a[1:] += a[:-1]`, `a.copy_(a.T)`), it reads everything first, as in NumPy: the
result is that of `a[1:] += a[:-1].clone()`, which PyTorch requires.

Tensors that share memory without a common history (`detach()`, a Parameter made from a Tensor) get the new values and
keep their histories.
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
    View: TypeAlias = tuple[Tensor, Steps]  # a base, and the operations that lead from it to the view


class Aliases:
    """The Tensors that share a block of memory, in order of creation.

    Attributes:
        references: weak references to these Tensors, of which some may be dead.
        limit: the length of `references` above which dead ones are removed: twice the length after the last removal,
            but at least 32.
    """

    __slots__ = ("limit", "references")

    def __init__(self, first: Tensor) -> None:
        self.references = [ref(first)]
        self.limit = 32

    def live_tensors(self) -> list[Tensor]:
        """Return the Tensors that still exist, outside of a trace without those that an ended trace has left."""
        return [x for r in self.references if (x := r()) is not None and (mode.trace or type(x._data) is np.ndarray)]

    def remove_dead(self) -> None:
        """Remove dead references."""
        self.references = [reference for reference in self.references if reference() is not None]
        self.limit = max(32, 2 * len(self.references))


def track(out: Tensor, source: Tensor, array: Any, operation: Operation[...], options: dict[str, Any]) -> None:
    """Register the result of an operation as a view of its input, if it is one.

    Args:
        out: the operation's result.
        source: its input.
        array: the input's array.
        operation: an operation whose result may be a view.
        options: its options.
    """
    # A tracer has a base only if it is a view; an array also has one if, for example, a formula reshaped its own result
    is_view = out._data.base is not None
    if mode.trace is None:
        is_view = is_view and _shares_memory(out._data, array, operation, options)
    if not is_view:
        return
    view = source._view
    out._view = (source, ((operation, options),)) if view is None else (view[0], (*view[1], (operation, options)))
    share(out, source)


def _shares_memory(part: Any, array: Any, operation: Operation[...], options: dict[str, Any]) -> bool:
    """Whether a result is a view of an array; an empty result counts as a view unless the index contains arrays."""
    if part.size:
        return np.may_share_memory(part, array)
    return operation is not getitem or is_basic(options["index"])


def share(tensor: Tensor, source: Tensor) -> None:
    """Register that a new Tensor shares the memory of `source`."""
    tensor._version, aliases = source._version, source._aliases
    if aliases is None:
        aliases = source._aliases = Aliases(source)
    tensor._aliases = aliases
    aliases.references.append(ref(tensor))
    if len(aliases.references) > aliases.limit:
        aliases.remove_dead()


def share_detached(tensor: Tensor, source: Tensor) -> None:
    """Register that a new Tensor shares the memory of `source`, but not its history.

    If `source` is a view, the new Tensor becomes the same view of a new base, which has no history either.
    """
    if source._view is not None:
        base, steps = source._view
        own_base = base._wrap(base._data)
        share_detached(own_base, base)
        tensor._view = own_base, steps
    share(tensor, source)


def base_of(tensor: Tensor) -> Tensor:
    """Return the base of a view; return any other Tensor itself."""
    return tensor if tensor._view is None else tensor._view[0]


def change(tensor: Tensor, compute: Callable[[], Tensor]) -> None:
    """Assign a new value with its history to a Tensor, and update all Tensors that share its memory.

    Args:
        tensor: the Tensor to change.
        compute: computes the new value.

    Raises:
        RuntimeError: the Tensor is a view that repeats elements, or a view made by an operation that is not supported.
    """
    base, steps = tensor._view or (tensor, ())
    if mode.trace is not None:
        aliases = (base, *(tensor._aliases.live_tensors() if tensor._aliases is not None else ()))
        if any(type(alias._data) is np.ndarray for alias in aliases):
            mode.trace.refuse("recording an in-place change of an existing tensor")
    if tensor._aliases is None:  # no other Tensor shares this memory
        new = compute()
        _assign(tensor, _match_layout(new._data, tensor._data), new._node)
        tensor._version = new._version
        return
    tensors = tensor._aliases.live_tensors()
    old_version = tensor._version
    # give the Tensors a temporary counter, which never increases: the operations below save the old value, which stays
    # valid, because its array is not overwritten
    _set_version(tensors, [0])
    try:
        new_base = _update_base(base, steps, compute())
    except BaseException:
        _set_version(tensors, old_version)
        raise
    had_node = base._node is not None
    _assign(base, _match_layout(new_base._data, base._data), new_base._node)
    _set_version(tensors, new_base._version)
    for other in tensors:
        if other is base:
            continue
        own_base, own_steps = other._view or (other, ())
        if own_base is base and not (had_node and other._node is None):
            part = _take_view(base, own_steps)
            _assign(other, part._data, part._node)
        else:  # a view that was taken under `no_grad`, or a Tensor with its own history
            with no_grad():
                other._data = _take_view(base, own_steps)._data
            # `other` keeps its Node but no longer holds the value that this Node computed. A rule that needs the value,
            # such as the rule of exp, would return the gradient for the old value. Increase the counter of the old
            # value, so that backward() refuses, as in PyTorch. A Leaf has no rule.
            if isinstance(other._node, tape.Node):
                old_version[0] += 1


def _set_version(tensors: Sequence[Tensor], version: list[int]) -> None:
    """Set the version counter of Tensors that share memory."""
    for tensor in tensors:
        tensor._version = version


def is_view_at(view: Tensor, source: Tensor, index: Any) -> bool:
    """Whether a Tensor is the view of `source` at an index, so that assigning it there changes nothing."""
    if view._view is None or (view._node is None) != (source._node is None) or not is_basic(index):
        return False
    base, steps = source._view or (source, ())
    own_base, (*first_steps, (operation, options)) = view._view
    is_same_path = own_base is base and len(first_steps) == len(steps) and all(map(is_, first_steps, steps))
    return is_same_path and operation is getitem and bool(options["index"] == index)


def unshare(tensor: Tensor) -> None:
    """Prepare a Tensor for new memory: its views keep the old memory, and a new Tensor becomes their base."""
    if tensor._aliases is None:
        return
    old = tensor._wrap(tensor._data)
    old._node, old._version, old._view, old._aliases = tensor._node, tensor._version, tensor._view, tensor._aliases
    old._aliases.references.append(ref(old))
    for other in tensor._aliases.live_tensors():
        if other._view is not None and other._view[0] is tensor:
            other._view = old, other._view[1]
    old._aliases.references = [reference for reference in old._aliases.references if reference() is not tensor]
    tensor._view = tensor._aliases = None


def _assign(tensor: Tensor, data: Any, node: tape.Node | tape.Leaf | None) -> None:
    """Assign new data and a new node to a Tensor. If the old node retains its gradient, so does the new node."""
    old_node = tensor._node
    tensor._data, tensor._node = data, node
    if old_node is node or not isinstance(old_node, tape.Node):
        return
    if old_node.hooks and old_node.hooks.pop(tape.RETAIN, None):
        tensor.retain_grad()


def _match_layout(data: Any, like: Any) -> Any:
    """Return the data in the memory layout of `like`, so that the same reshapes give views."""
    if mode.trace is not None:
        return mode.trace.match_layout(data, like)
    if data.strides == like.strides:
        return data
    out = np.empty_like(like)
    out[...] = data
    return out


def _take_view(base: Tensor, steps: Steps) -> Tensor:
    """Apply the operations of a view to its base."""
    for operation, options in steps:
        base = operation(base, **options)
    return base


def _update_base(base: Tensor, steps: Steps, part: Tensor) -> Tensor:
    """Return the new value of the base after `part` has been assigned to the view that `steps` lead to."""
    sources = [_take_view(base, steps[:i]) for i in range(len(steps))]
    for source, (operation, options) in zip(reversed(sources), reversed(steps), strict=True):
        if operation is getitem:
            part = index_put(source, part, index=options["index"])
        elif operation is main_diagonal:
            part = index_put(source, part, index=diagonal_index(source.shape[-1]))
        elif operation is reshape or (operation is broadcast_to and part.numel() == source.numel()):
            part = reshape(part, shape=source.shape)
        elif operation is permute:  # its derivative is its inverse
            part = operation.rule(part, options.get("dims"))  # type: ignore[misc]  # permute has a rule
        else:
            reason = "repeats an element" if operation is broadcast_to else f"is a view by {operation.name}"
            raise RuntimeError(f"a tensor that {reason} cannot be changed in place: change a copy (clone()) of it")
    return part
