"""The tape: what was computed is recorded here, and walked backwards by the chain rule.

Each operation on Tensors that asks for gradients leaves a `Node`: which operation it was, what its derivative will
need, and which nodes its inputs came from. A tensor that the user made and wants the gradient of is a `Leaf`. `walk`
starts at a result with dL/d(result) and hands each node its gradient, the latest node first, so that every node has
heard from all who used it before its own turn comes. There is no recursion: a chain of any length works. Nothing here
depends on the order of a set or on memory addresses: the same program gives the same bits.

Source of the method: Griewank and Walther, Evaluating Derivatives (2008), chapter 3, "reverse mode".
"""

from __future__ import annotations

import os
from heapq import heappop, heappush
from itertools import count
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd import hooks
from chainrule.autograd.hooks import as_tensor
from chainrule.autograd.mode import Anomaly, error_suffix, mode, set_grad_enabled
from chainrule.errors import check, type_name
from chainrule.ops.reductions import sum as add_up
from chainrule.ops.shape import cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from traceback import FrameSummary

    from numpy.typing import NDArray

    from chainrule.ops.operation import Operation
    from chainrule.tensor import Tensor


class Leaf:
    """Where gradients end: a tensor that the user made. It keeps the gradient that `backward()` adds up.

    Attributes:
        deferred_grad: fetches the gradient that a compiled function has left in its own memory, when somebody asks.
    """

    __slots__ = ("_grad", "deferred_grad", "dtype", "hooks", "shape")

    def __init__(self, array: NDArray[Any]) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        self._grad: Tensor | None = None
        self.deferred_grad: Callable[[], Tensor] | None = None
        self.hooks: dict[int, Any] | None = None

    @property
    def grad(self) -> Tensor | None:
        """What `backward()` added up, or None."""
        if self.deferred_grad is not None:
            with _changing:  # a second thread that asks waits, and a newer gradient stays
                fetch = self.deferred_grad
                if fetch is not None:
                    self._grad = fetch()
                    if self.deferred_grad is fetch:
                        self.deferred_grad = None
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        self._grad, self.deferred_grad = value, None


_order, _ndarray = count(), np.ndarray
_changing = RLock()  # held while a gradient that was added to, or fetched, is put in its place
RETAIN = -1  # stands among the hooks of a node whose gradient is to be kept


class Node:
    """One recorded operation.

    Attributes:
        operation: what was done.
        parents: for each input, the Node or Leaf that its gradient goes to, or None.
        saved: what the rule needs besides `grad`, as arrays, shapes and options; None once freed.
        checks: which of those belong to Tensors: (position in `saved`, which input it is or -1 for the result, version
            counter, its reading then). They must not have changed since, and are differentiated in turn.
        shape, dtype: of the result, and so of its gradient.
        order: nodes are numbered as they are made; a node's inputs have smaller numbers.
        grad: kept only for results that were told to `retain_grad`.
        hooks: what to call with the gradient when it is complete; under RETAIN, that it is to be kept in `grad`.
        recorded_at: the user's frames that called the operation; there only if anomalies were looked for.
    """

    __slots__ = ("checks", "dtype", "grad", "hooks", "operation", "order", "parents", "recorded_at", "saved", "shape")
    recorded_at: tuple[FrameSummary, ...]

    def __init__(
        self, operation: Operation[...], parents: Sequence[Node | Leaf | None], inputs: Sequence[Any],
        arrays: Sequence[Any], options: dict[str, Any], out: Tensor, extra: Any = None,
    ) -> None:  # fmt: skip
        self.operation, self.parents, self.order = operation, parents, next(_order)
        array = out._data
        self.shape, self.dtype = array.shape, array.dtype
        self.grad: Tensor | None = None
        self.hooks: dict[int, Any] | None = None
        saved: list[Any] = []
        checks: list[tuple[int, int, list[int], int]] = []
        for kind, which in operation.needs:
            if kind == "input":
                value, tensor = arrays[which], inputs[which]
                if tensor is not value and (version := getattr(tensor, "_version", None)) is not None:
                    checks.append((len(saved), which, version, version[0]))
                # arithmetic of NumPy's single numbers is several times as fast as that of arrays without dimensions
                saved.append(value if type(value) is not _ndarray or value.ndim else value[()])
            elif kind == "out":
                checks.append((len(saved), -1, out._version, out._version[0]))
                saved.append(array[()] if type(array) is _ndarray and not array.ndim else array)
            elif kind == "shape":
                saved.append(getattr(arrays[which], "shape", ()))  # a number has none
            elif kind == "extra":
                saved.append(extra)
            elif kind == "shapes":
                saved.append([array.shape for array in arrays])
            else:
                saved.append(options[which] if which in options else operation.defaults[which])
        self.saved: Sequence[Any] | None = saved
        self.checks: Sequence[tuple[int, int, list[int], int]] = checks

    def pull(self, grad: Any, create_graph: bool, wrap: Callable[[Any], Tensor]) -> Any:
        """The gradients of this node's inputs, given that of its result: the operation's rule, on arrays or on Tensors.

        Raises:
            RuntimeError: the graph was freed, or a value that the rule needs was changed in place.
        """
        if self.saved is None:
            freed = f"the graph behind this {self.operation.name} was freed by an earlier backward()"
            raise self.error(f"{freed}; to walk it twice, call the first one with retain_graph=True")
        for _, which, version, then in self.checks:
            if version[0] != then:
                value = "result" if which < 0 else self.operation.inputs[which]
                changed = f"the {value} of {self} was changed in place after it was used, and its old value is needed"
                raise self.error(f"{changed}; call backward() before changing it, or change a clone()")
        if not create_graph:
            if mode.trace is not None:
                return mode.trace.pull(self, grad)
            if self.operation.fused:
                return self.operation.pull_fused(grad, self.saved, tuple([p is not None for p in self.parents]))
            return self.operation.rule(grad, *self.saved)  # type: ignore[misc]  # a node is made only where there is a rule
        if mode.anomaly is not None:  # what the rule records belongs to the same frames
            mode.recording = Anomaly(mode.anomaly.check_nan, getattr(self, "recorded_at", None))
        values = list(self.saved)
        for position, which, version, _ in self.checks:  # as they were: a `+=` may have replaced the Tensors since
            tensor = values[position] = as_tensor(values[position], wrap)
            tensor._node, tensor._version = (self if which < 0 else self.parents[which]), version
        return self.operation.rule(grad, *values)  # type: ignore[misc]

    def __str__(self) -> str:
        return f"{self.operation.name} (its result has shape {self.shape})"

    def error(self, message: str) -> RuntimeError:
        """An error of the walk back; it ends with where this operation was recorded, if that is remembered."""
        return RuntimeError(f"backward: {message}{error_suffix(getattr(self, 'recorded_at', ()))}")


def walk(
    roots: Sequence[tuple[Node | Leaf, Any]], targets: Sequence[Node | Leaf] | None, wrap: Callable[[Any], Tensor],
    retain_graph: bool | None, create_graph: bool,
) -> list[tuple[Node | Leaf, Tensor | None]]:  # fmt: skip
    """Carry gradients from the roots back through the graph.

    Args:
        roots: pairs of a node and its gradient.
        targets: the nodes whose gradients are asked for; None for all leaves.
        wrap: makes a Tensor of an array, for rules that run on Tensors.
        retain_graph: keep what a second walk needs; as `create_graph` if None.
        create_graph: run the rules on Tensors, so that the gradients can be differentiated in turn.

    Returns:
        The gradient of each target, or None if none arrived; without targets, of each leaf that one arrived at.
    """
    check_nan = mode.anomaly is not None and mode.anomaly.check_nan
    wanted = None if targets is None else _leading_to([node for node, _ in roots], targets)
    kept = frozenset(targets or ())
    freed = not (create_graph if retain_graph is None else retain_graph)
    grads: dict[Node | Leaf, Any] = {}
    queue: list[tuple[int, Node]] = []  # a heap: the latest node first

    def give(node: Node | Leaf, grad: Any) -> None:
        if grad.dtype is not node.dtype and grad.dtype != node.dtype:
            grad = cast(grad, dtype=node.dtype)
        so_far = grads.get(node)
        if so_far is not None:
            grads[node] = so_far + grad
            return
        grads[node] = grad
        if type(node) is Node:
            heappush(queue, (-node.order, node))

    for node, grad in roots:
        give(node, grad)
    while queue:
        node = heappop(queue)[1]
        if node.hooks:
            grads[node] = _announced(node, grads[node], wrap)
        grad = grads[node] if kept and node in kept else grads.pop(node)
        parents = node.parents
        if wanted is not None and wanted.isdisjoint(parents):
            continue  # nobody asks for what lies behind: it is neither computed nor freed
        parts = node.pull(grad, create_graph, wrap)
        parts = parts if type(parts) is tuple else (parts,)
        if len(parts) != len(parents):
            raise TypeError(_returns(node, f"{len(parts)} gradients for {len(parents)} inputs"))
        for parent, entry in zip(parents, parts, strict=True):
            if parent is None or entry is None or (wanted is not None and parent not in wanted):
                continue
            part = entry() if callable(entry) else entry
            try:
                if part.shape != parent.shape:
                    part = _unbroadcast(part, parent.shape, node)
            except AttributeError:
                raise TypeError(_returns(node, f"a {type(part).__name__} where an array should be")) from None
            if check_nan and np.isnan(as_tensor(part, wrap)._data).any():
                raise node.error(f"the derivative of {node} gave NaN")
            give(parent, part)
        if freed:  # let go of the arrays that only a gradient needs
            node.saved, node.checks = None, ()
    for leaf, grad in grads.items():
        if type(leaf) is Leaf and leaf.hooks:
            grads[leaf] = _announced(leaf, grad, wrap)
    held = {id(array): array for array in (getattr(seed, "_data", seed) for _, seed in roots)}
    reached = grads if targets is None else targets
    return [(node, _own(grads[node], held, wrap) if node in grads else None) for node in reached]


def backward(
    root: Tensor, gradient: Tensor | None, retain_graph: bool | None, create_graph: bool,
    inputs: Tensor | Sequence[Tensor] | None,
) -> None:  # fmt: skip
    """What `Tensor.backward` does: walk the graph, and add to `grad` what arrives at the leaves or the inputs."""
    targets = None if inputs is None else [node_of(x, "backward") for x in _at_least_one("backward: inputs", inputs)]
    roots = [_root(root, gradient, create_graph)]
    with set_grad_enabled(create_graph), np.errstate(all="ignore"):
        for node, grad in dict(walk(roots, targets, root._wrap, retain_graph, create_graph)).items():
            if grad is not None and not (node.hooks and RETAIN in node.hooks):  # which the walk has seen to
                _accumulate(node, grad)


def grad(
    outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None, retain_graph: bool | None = None,
    create_graph: bool = False, allow_unused: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The gradients of the sum of the outputs with respect to the inputs; the `.grad` of leaves is left alone.

    Args:
        outputs: what to differentiate.
        inputs: with respect to what: leaves or results in between.
        grad_outputs: dL/d(output) for each output, in its shape; may be left out for outputs of one element.
        retain_graph: keep the graph for another walk; as `create_graph` if None.
        create_graph: make the gradients themselves differentiable.
        allow_unused: give None for an input that the outputs do not depend on, instead of an error.

    Returns:
        One gradient for each input, in its shape.

    Raises:
        RuntimeError: an output or input does not require gradients, or there is none; an input is not used; the graph
            was freed.
        TypeError: an output or input is not a Tensor.
        ValueError: a gradient has not its output's shape.
    """
    outputs = _at_least_one("grad: outputs", outputs)
    seeds: list[Any] = [None] * len(outputs) if grad_outputs is None else listed(grad_outputs)
    check("grad", len(seeds) == len(outputs), f"{len(outputs)} outputs but {len(seeds)} grad_outputs")
    targets = [node_of(x, "grad") for x in _at_least_one("grad: inputs", inputs)]
    roots = [_root(out, seed, create_graph) for out, seed in zip(outputs, seeds, strict=True)]
    with set_grad_enabled(create_graph), np.errstate(all="ignore"):
        found = walk(roots, targets, outputs[0]._wrap, retain_graph, create_graph)
    for position, (target, grad) in enumerate(found):
        if grad is None and not allow_unused:
            unused = f"the outputs do not depend on input {position}, of shape {target.shape}"
            raise RuntimeError(f"grad: {unused}; allow_unused=True gives None for it")
    return tuple(grad for _, grad in found)  # type: ignore[misc]  # None only if that was allowed


def listed(tensors: Any) -> list[Tensor]:
    """One Tensor or several, as a list."""
    return [tensors] if hasattr(tensors, "dtype") or not hasattr(tensors, "__iter__") else list(tensors)


def _at_least_one(what: str, tensors: Any) -> list[Tensor]:
    """One Tensor or several, as a list.

    Raises:
        RuntimeError: there is none.
        TypeError: one is not a Tensor.
    """
    found = listed(tensors)
    if not found:
        raise RuntimeError(f"{what} must not be empty")
    for x in found:
        if not hasattr(x, "_node"):
            raise TypeError(f"{what} must be a Tensor or several, not {type(x).__name__}")
    return found


def each_alone(tensor: Tensor) -> Iterator[Tensor]:
    """For each element of a Tensor, the gradient that picks out this element: 1 in its place, 0 elsewhere."""
    for at in np.ndindex(tensor.shape):
        seed = np.zeros_like(tensor._data)
        seed[at] = 1
        yield tensor._wrap(seed)


def history(nodes: Sequence[Node | Leaf]) -> list[Node]:
    """The recorded operations among and behind some nodes, in the order in which they were computed."""
    found: dict[Node, None] = {}
    stack: list[Node | Leaf | None] = [*nodes]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node not in found:
            found[node] = None
            stack += node.parents
    return sorted(found, key=lambda node: node.order)


def _own(grad: Any, held: dict[int, Any], wrap: Callable[[Any], Tensor]) -> Tensor:
    """The gradient as a Tensor, copied if somebody else holds the same memory: it may be changed in place later."""
    tensor = as_tensor(grad, wrap)
    if tensor._data.base is not None or id(tensor._data) in held:
        tensor = wrap(tensor._data.copy()) if tensor._node is None else tensor.clone()
    held[id(tensor._data)] = tensor._data
    return tensor


def _root(tensor: Tensor, gradient: Tensor | None, create_graph: bool) -> tuple[Node | Leaf, Any]:
    """A result's node and its gradient to start with: 1, if the result is one number."""
    node = node_of(tensor, "backward")
    if gradient is None:
        if tensor._data.size != 1:
            given = f"only a single number has a gradient without being told more, this has shape {tensor.shape}"
            raise RuntimeError(f"backward: {given}; reduce it (.sum(), .mean()) or give the gradient of each element")
        seed = np.ones_like(tensor._data)
    else:
        array = getattr(gradient, "_data", gradient)
        known = mode.trace is not None or np.asarray(array).dtype.kind in "biuf"
        check("backward", known, f"the gradient must be a Tensor, not {type_name(gradient)}", TypeError)
        seed = np.asarray(array, tensor.dtype) if mode.trace is None else mode.trace.lift(gradient)
        if seed.shape != node.shape:
            raise ValueError(f"backward: the gradient's shape {seed.shape} must be the result's, {node.shape}")
    if not create_graph:
        return node, seed
    return node, gradient if hasattr(gradient, "requires_grad") else tensor._wrap(seed)


def node_of(tensor: Tensor, name: str) -> Node | Leaf:
    """Where a Tensor stands on the tape; a RuntimeError, in the name of who asks, if it does not stand there."""
    if tensor._node is None:
        why = "it does not require gradients nor depend on what does, or was computed under no_grad()"
        raise RuntimeError(f"{name}: this tensor (shape {tensor.shape}) has no gradient: {why}")
    return tensor._node


def _leading_to(roots: Sequence[Node | Leaf], targets: Sequence[Node | Leaf]) -> set[Node | Leaf | None]:
    """The nodes behind the roots through which a gradient reaches a target."""
    leading: set[Node | Leaf | None] = set(targets)
    for node in history(roots):
        if not leading.isdisjoint(node.parents):
            leading.add(node)
    return leading


def _returns(node: Node, what: str) -> str:
    return f"{node.operation.name}: its derivative returns {what}"


def _unbroadcast(grad: Any, shape: tuple[int, ...], node: Node) -> Any:
    """Sum a gradient over the dimensions along which its input was repeated."""
    extra = len(grad.shape) - len(shape)
    if extra < 0 or any(size not in (1, given) for size, given in zip(shape, grad.shape[extra:], strict=True)):
        given = f"a gradient of shape {grad.shape} for an input of shape {shape}"
        raise ValueError(_returns(node, f"{given}; it must be that shape, or what broadcasting makes of it"))
    repeated = [extra + d for d, size in enumerate(shape) if size == 1 and grad.shape[extra + d] != 1]
    summed = (*range(extra), *repeated)
    total = add_up.compute(grad, dim=summed) if type(grad) is np.ndarray else np.sum(grad, axis=summed)
    return np.reshape(total, shape)


def _announced(node: Node | Leaf, grad: Any, wrap: Callable[[Any], Tensor]) -> Any:
    """The gradient as the node's hooks leave it, which is also what a result that was told to retains."""
    tensor = as_tensor(grad, wrap).clone()
    called = dict(node.hooks or {})  # a hook may remove itself
    retained = called.pop(RETAIN, None)
    for hook in called.values():
        tensor = hooks.check_replacement("register_hook", tensor, hook(tensor))
    if retained:
        _accumulate(node, tensor.clone())
    return hooks.copy_for_tape(tensor)


def _accumulate(node: Node | Leaf, grad: Tensor) -> None:
    """Add to a gradient; where another thread has added meanwhile, once more."""
    if mode.trace is not None:
        mode.trace.check_gradient(node)
    while True:
        before = node.grad  # which may wait for a compiled function, so the lock is not held here
        total = grad if before is None else before + grad
        with _changing:
            if getattr(node, "deferred_grad", None) is None and node.grad is before:
                node.grad = total
                return


def _after_fork() -> None:
    """In a forked process nobody holds a lock any more."""
    global _changing
    _changing = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
