"""The tape: records operations, and computes gradients by applying the chain rule backwards.

Each operation on Tensors that require gradients creates a `Node` with the operation, the values that its derivative
needs, and the nodes of its inputs. The tape is not a list: nodes point to their parents. A Tensor that the user created
with `requires_grad` has a `Leaf`. `walk` starts at a result with dL/d(result) and visits the nodes from the latest to
the earliest: when it visits a node, the gradient of the node is complete. There is no recursion, so chains can have any
length. Nothing depends on the order of sets or on memory addresses: each run of the same program gives bitwise
identical gradients.

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
from chainrule.autograd.hooks import gradient_as_tensor
from chainrule.autograd.mode import Anomaly, error_suffix, mode
from chainrule.errors import check, type_name
from chainrule.kernels.sums import broadcast_dims
from chainrule.ops import reductions
from chainrule.ops.operation import is_tensor
from chainrule.ops.shape import cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from traceback import FrameSummary

    from numpy.typing import NDArray

    from chainrule.ops.operation import Operation
    from chainrule.tensor import Tensor


class Leaf:
    """The end of a gradient's path: the node of a Tensor that the user created. `backward()` adds to its `grad`.

    Attributes:
        deferred_grad: a function that fetches the gradient from a compiled function's memory when `grad` is first read;
            None if there is nothing to fetch.
    """

    __slots__ = ("_grad", "deferred_grad", "dtype", "hooks", "shape")

    def __init__(self, array: NDArray[Any]) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        self._grad: Tensor | None = None
        self.deferred_grad: Callable[[], Tensor] | None = None
        self.hooks: dict[int, Any] | None = None

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient, or None."""
        if self.deferred_grad is not None:
            with _grad_lock:  # a second thread waits for the first one to fetch it
                fetch = self.deferred_grad
                if fetch is not None:
                    self._grad = fetch()
                    if self.deferred_grad is fetch:  # not if another compiled call has deferred a newer gradient
                        self.deferred_grad = None
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        self._grad, self.deferred_grad = value, None


_order = count()  # numbers the nodes
_ndarray = np.ndarray  # a global name is found faster than an attribute
_grad_lock = RLock()  # held while a `grad` is replaced, by a sum or by a deferred gradient
RETAIN = -1  # the key among a node's hooks that makes it retain its gradient


class Node:
    """One recorded operation.

    Attributes:
        operation: the operation.
        parents: for each input, the Node or Leaf that its gradient goes to; None if it does not require gradients.
        saved: the arguments of the rule after `grad`: arrays, shapes and options; None once they are freed.
        saved_versions: for each entry of `saved` that is a Tensor's array: (position in `saved`, position of the input
            or -1 for the result, version counter, the counter's value when the array was saved). The counter must still
            have that value when the rule runs. With `create_graph`, the arrays become Tensors again, with their
            histories.
        shape, dtype: the shape and type of the result, which are those of its gradient, too.
        order: the node's number in the order of creation; its inputs have smaller numbers.
        grad: the gradient, only after `retain_grad`.
        hooks: functions to call with the complete gradient; the key RETAIN stores it in `grad`.
        recorded_at: the user frames that called the operation; set only during anomaly detection.
    """

    __slots__ = (
        "dtype", "grad", "hooks", "operation", "order", "parents", "recorded_at", "saved", "saved_versions", "shape",
    )  # fmt: skip
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
        saved_versions: list[tuple[int, int, list[int], int]] = []
        for kind, source in operation.needs:
            if kind == "input":
                value, tensor = arrays[source], inputs[source]
                # `is not` comes first only because it is fast for arrays and numbers
                if tensor is not value and (version := getattr(tensor, "_version", None)) is not None:
                    saved_versions.append((len(saved), source, version, version[0]))
                # arithmetic on NumPy scalars is several times as fast as on zero-dimensional arrays
                saved.append(value if type(value) is not _ndarray or value.ndim else value[()])
            elif kind == "out":
                saved_versions.append((len(saved), -1, out._version, out._version[0]))
                saved.append(array[()] if type(array) is _ndarray and not array.ndim else array)
            elif kind == "shape":
                saved.append(getattr(arrays[source], "shape", ()))  # a number has none
            elif kind == "extra":
                saved.append(extra)
            elif kind == "shapes":
                saved.append([array.shape for array in arrays])
            else:
                saved.append(options[source] if source in options else operation.option_defaults[source])
        self.saved: Sequence[Any] | None = saved
        self.saved_versions: Sequence[tuple[int, int, list[int], int]] = saved_versions

    def vjp(self, grad: Any, create_graph: bool, wrap: Callable[[Any], Tensor]) -> tuple[Any, ...]:
        """Run the operation's rule on the gradient of the result; return its entry for each input.

        With `create_graph`, the rule runs on Tensors, otherwise on arrays.

        Raises:
            RuntimeError: the graph was freed, or a value that the rule needs was changed in place.
            TypeError: the rule does not return an entry for each input.
        """
        if self.saved is None:
            problem = f"the graph of this {self.operation.name} was freed by an earlier backward()"
            raise self.error(f"{problem}; to call backward() twice, call the first one with retain_graph=True")
        for _, source, version, expected in self.saved_versions:
            if version[0] != expected:
                value = "result" if source < 0 else self.operation.input_names[source]
                problem = f"the {value} of {self} was changed in place after it was used, and its old value is needed"
                raise self.error(f"{problem}; call backward() before changing it, or change a copy (clone())")
        try:
            if create_graph:
                grads = self._differentiable_vjp(grad, wrap)
            elif mode.trace is not None:
                grads = mode.trace.vjp(self, grad)
            elif self.operation.fused:
                grads = self.operation.fused_vjp(grad, self.saved, tuple([p is not None for p in self.parents]))
            else:
                grads = self.operation.rule(grad, *self.saved)  # type: ignore[misc]  # a node exists only if there is one
            grads = grads if type(grads) is tuple else (grads,)
            if len(grads) != len(self.parents):
                raise TypeError(_rule_error(self, f"{len(grads)} gradients for {len(self.parents)} inputs"))
            return grads
        except Exception as error:
            self.add_frames(error)
            raise

    def _differentiable_vjp(self, grad: Tensor, wrap: Callable[[Any], Tensor]) -> Any:
        """Run the rule on Tensors, so that it is recorded."""
        # operations that the rule records get the frames of this node; `_with_recording`, which the callers of `walk`
        # use, restores `mode.anomaly`
        if mode.anomaly is not None:
            mode.anomaly = Anomaly(mode.anomaly.check_nan, getattr(self, "recorded_at", None))
        values = list(self.saved)  # type: ignore[arg-type]  # `vjp` has checked that they are not freed
        # new Tensors: a recorded `+=` may have given the original ones a different array and a different node
        for position, source, version, _ in self.saved_versions:
            tensor = values[position] = gradient_as_tensor(values[position], wrap)
            tensor._node, tensor._version = (self if source < 0 else self.parents[source]), version
        return self.operation.rule(grad, *values)  # type: ignore[misc]

    def __str__(self) -> str:
        return f"{self.operation.name} (its result has shape {self.shape})"

    def error(self, problem: str) -> RuntimeError:
        """Return an error of the backward pass, with the lines where this operation was recorded, if they are known."""
        return RuntimeError(f"backward: {problem}{error_suffix(getattr(self, 'recorded_at', ()))}")

    def add_frames(self, error: Exception) -> None:
        """Add a note to an error of the rule: the lines where this operation was recorded, if they are known."""
        if hasattr(self, "recorded_at"):
            error.add_note(f"backward: this is an error of the derivative of {self}{error_suffix(self.recorded_at)}")


def walk(
    roots: Sequence[tuple[Node | Leaf, Any]], targets: Sequence[Node | Leaf] | None, wrap: Callable[[Any], Tensor],
    retain_graph: bool | None, create_graph: bool,
) -> list[tuple[Node | Leaf, Tensor | None]]:  # fmt: skip
    """Propagate gradients from the roots backwards through the graph.

    Args:
        roots: pairs of a node and the gradient of its result.
        targets: the nodes whose gradients to return; None for all leaves.
        wrap: `Tensor._wrap`, which makes a Tensor of an array; passed in because `tensor` imports this module.
        retain_graph: keep the saved values for another backward pass; the same as `create_graph` if None.
        create_graph: run the rules on Tensors, so that the gradients can be differentiated in turn.

    Returns:
        Pairs of a node and its gradient: each target, with None if no gradient reaches it; without targets, each leaf
        that a gradient reaches.
    """
    check_nan = mode.anomaly is not None and mode.anomaly.check_nan
    path_nodes = None if targets is None else _nodes_on_paths([node for node, _ in roots], targets)
    target_set = frozenset(targets or ())
    free_graph = not (create_graph if retain_graph is None else retain_graph)
    grads: dict[Node | Leaf, Any] = {}
    queue: list[tuple[int, Node]] = []  # a heap: the latest node first

    def add_gradient(node: Node | Leaf, grad: Any) -> None:
        if grad.dtype is not node.dtype and grad.dtype != node.dtype:
            grad = cast(grad, dtype=node.dtype)
        if node in grads:
            grads[node] = grads[node] + grad
            return
        grads[node] = grad
        if type(node) is Node:
            heappush(queue, (-node.order, node))

    for node, grad in roots:
        add_gradient(node, grad)
    while queue:
        node = heappop(queue)[1]
        if node.hooks:
            grads[node] = _run_hooks(node, grads[node], wrap)
        grad = grads[node] if target_set and node in target_set else grads.pop(node)
        parents = node.parents
        if path_nodes is not None and path_nodes.isdisjoint(parents):
            continue  # no target is reached through this node: its rule does not run, and its saved values are kept
        input_grads = node.vjp(grad, create_graph, wrap)
        for parent, entry in zip(parents, input_grads, strict=True):
            if parent is None or entry is None or (path_nodes is not None and parent not in path_nodes):
                continue
            try:
                part = entry() if callable(entry) else entry
                if not hasattr(part, "shape"):
                    raise TypeError(_rule_error(node, f"a {type(part).__name__} where an array should be"))
                if part.shape != parent.shape:
                    part = _unbroadcast(part, parent.shape, node)
            except Exception as error:
                node.add_frames(error)
                raise
            if check_nan and np.isnan(gradient_as_tensor(part, wrap)._data).any():
                raise node.error(f"the derivative of {node} gave NaN")
            add_gradient(parent, part)
        if free_graph:
            node.saved, node.saved_versions = None, ()
    for leaf, grad in grads.items():
        if type(leaf) is Leaf and leaf.hooks:
            grads[leaf] = _run_hooks(leaf, grad, wrap)
    caller_arrays = {id(array): array for array in (getattr(seed, "_data", seed) for _, seed in roots)}
    nodes = grads if targets is None else targets
    return [(node, _with_own_memory(grads[node], caller_arrays, wrap) if node in grads else None) for node in nodes]


def backward(
    root: Tensor, gradient: Tensor | None, retain_graph: bool | None, create_graph: bool,
    inputs: Tensor | Sequence[Tensor] | None,
) -> None:  # fmt: skip
    """Implement `Tensor.backward`: compute gradients and add them to the `grad` of the leaves, or of `inputs`."""
    targets = None if inputs is None else [node_of(x, "backward") for x in _nonempty("backward: inputs", inputs)]
    roots = [_make_root("backward", root, gradient, create_graph)]

    def accumulate_gradients() -> None:
        # a dict: a Tensor that occurs twice in `inputs` gets its gradient once
        for node, grad in dict(walk(roots, targets, root._wrap, retain_graph, create_graph)).items():
            if grad is not None and not (node.hooks and RETAIN in node.hooks):  # `walk` has stored retained gradients
                _accumulate(node, grad)

    _with_recording(create_graph, accumulate_gradients)


def _with_recording(recording: bool, function: Callable[[], Any]) -> Any:
    """Call a function with recording on or off, without NumPy's warnings.

    `set_grad_enabled` is not used here, because an interrupt on entering its `__exit__` would leave recording as it was
    inside the block.
    """
    previous_mode = mode.recording, mode.anomaly
    try:
        mode.recording = bool(recording)
        with np.errstate(all="ignore"):
            return function()
    finally:
        mode.recording, mode.anomaly = previous_mode


def grad(
    outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None, retain_graph: bool | None = None,
    create_graph: bool = False, allow_unused: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return the gradients of the sum of the outputs with respect to the inputs. No `.grad` is changed.

    Args:
        outputs: the Tensors to differentiate.
        inputs: the Tensors to differentiate with respect to: leaves or intermediate results.
        grad_outputs: dL/d(output) for each output, in its shape; optional for outputs of one element.
        retain_graph: keep the graph for another backward pass; the same as `create_graph` if None.
        create_graph: make the gradients differentiable.
        allow_unused: return None for an input that the outputs do not depend on, instead of raising an error.

    Returns:
        One gradient for each input, in its shape.

    Raises:
        RuntimeError: an output or input does not require gradients; there are no outputs or inputs; an input is unused;
            the graph was freed, or a value that it needs was changed in place.
        TypeError: an output or input is not a Tensor.
        ValueError: the numbers of outputs and gradients differ, or a gradient does not have the shape of its output.
    """
    outputs = _nonempty("grad: outputs", outputs)
    seeds: list[Any] = [None] * len(outputs) if grad_outputs is None else as_list(grad_outputs)
    check("grad", len(seeds) == len(outputs), f"{len(outputs)} outputs but {len(seeds)} grad_outputs")
    targets = [node_of(x, "grad") for x in _nonempty("grad: inputs", inputs)]
    roots = [_make_root("grad", out, seed, create_graph) for out, seed in zip(outputs, seeds, strict=True)]
    pairs = _with_recording(create_graph, lambda: walk(roots, targets, outputs[0]._wrap, retain_graph, create_graph))
    for position, (target, grad) in enumerate(pairs):
        if grad is None and not allow_unused:
            problem = f"the outputs do not depend on input {position}, of shape {target.shape}"
            raise RuntimeError(f"grad: {problem}; use allow_unused=True to get None for it")
    return tuple(grad for _, grad in pairs)  # None only with allow_unused


def as_list(tensors: Any) -> list[Tensor]:
    """Return one Tensor or several as a list."""
    return [tensors] if hasattr(tensors, "dtype") or not hasattr(tensors, "__iter__") else list(tensors)


def _nonempty(what: str, tensors: Any) -> list[Tensor]:
    """Return one Tensor or several as a list, checked; `what` begins the error messages.

    Raises:
        RuntimeError: the list is empty.
        TypeError: an element is not a Tensor.
    """
    items = as_list(tensors)
    if not items:
        raise RuntimeError(f"{what} must not be empty")
    for x in items:
        if not is_tensor(x):
            raise TypeError(f"{what} must be one or more Tensors, not {type_name(x)}")
    return items


def unit_gradients(tensor: Tensor) -> Iterator[Tensor]:
    """For each element of a Tensor, yield a gradient that is 1 at this element and 0 elsewhere."""
    for index in np.ndindex(tensor.shape):
        seed = np.zeros_like(tensor._data)
        seed[index] = 1
        yield tensor._wrap(seed)


def history(nodes: Sequence[Node | Leaf]) -> list[Node]:
    """Return the nodes and all their ancestors, without leaves, in execution order."""
    ancestors: dict[Node, None] = {}
    stack: list[Node | Leaf | None] = [*nodes]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node not in ancestors:
            ancestors[node] = None
            stack += node.parents
    return sorted(ancestors, key=lambda node: node.order)


def _with_own_memory(grad: Any, caller_arrays: dict[int, Any], wrap: Callable[[Any], Tensor]) -> Tensor:
    """Return the gradient as a Tensor, copied if its memory is shared, because the user may change it in place.

    `caller_arrays` holds, by `id`, the arrays that the caller has: gradients that were passed in or already returned.
    The new gradient is added to it.
    """
    tensor = gradient_as_tensor(grad, wrap)
    if tensor._data.base is not None or id(tensor._data) in caller_arrays:
        tensor = wrap(tensor._data.copy("K")) if tensor._node is None else tensor.clone()
    caller_arrays[id(tensor._data)] = tensor._data
    return tensor


def _make_root(name: str, tensor: Tensor, gradient: Tensor | None, create_graph: bool) -> tuple[Node | Leaf, Any]:
    """Return a root for `walk`: the node of a result, and its gradient, which is 1 if not given.

    `name` begins the error messages. Only the gradient of a result of one element may be left out.
    """
    node = node_of(tensor, name)
    if gradient is None:
        if tensor._data.size != 1:
            problem = f"the gradient is optional only for a result of one element, but this has shape {tensor.shape}"
            raise RuntimeError(f"{name}: {problem}; reduce it (.sum(), .mean()) or pass the gradient of each element")
        seed = np.ones_like(tensor._data)
    else:
        array = getattr(gradient, "_data", gradient)
        numeric = mode.trace is not None or np.asarray(array).dtype.kind in "biuf"
        check(name, numeric, f"the gradient must be a Tensor or numbers, not {type_name(gradient)}", TypeError)
        seed = np.asarray(array, tensor.dtype) if mode.trace is None else mode.trace.lift(gradient)
        if seed.shape != node.shape:
            raise ValueError(f"{name}: the gradient's shape {seed.shape} must be the result's, {node.shape}")
    if not create_graph:
        return node, seed
    return node, gradient if is_tensor(gradient) else tensor._wrap(seed)


def node_of(tensor: Tensor, name: str) -> Node | Leaf:
    """Return the node of a Tensor on the tape; raise a RuntimeError that begins with `name` if there is none."""
    if tensor._node is None:
        reason = "it does not require gradients or depend on a tensor that does, or it was computed under no_grad()"
        raise RuntimeError(f"{name}: this tensor (shape {tensor.shape}) has no gradient: {reason}")
    return tensor._node


def _nodes_on_paths(roots: Sequence[Node | Leaf], targets: Sequence[Node | Leaf]) -> set[Node | Leaf | None]:
    """Return the nodes on the paths from the roots to the targets."""
    nodes: set[Node | Leaf | None] = set(targets)
    for node in history(roots):
        if not nodes.isdisjoint(node.parents):
            nodes.add(node)
    return nodes


def _rule_error(node: Node, what: str) -> str:
    """Return the message for a node whose rule returned an invalid gradient, which `what` describes."""
    return f"{node.operation.name}: its derivative returns {what}"


def _unbroadcast(grad: Any, shape: tuple[int, ...], node: Node) -> Any:
    """Sum a gradient over the dimensions along which the input, of this shape, was broadcast."""
    added = len(grad.shape) - len(shape)
    if added < 0 or any(size not in (1, actual) for size, actual in zip(shape, grad.shape[added:], strict=True)):
        shapes = f"a gradient of shape {grad.shape} for an input of shape {shape}"
        raise ValueError(_rule_error(node, f"{shapes}; it must have that shape or one that the input broadcasts to"))
    dims = broadcast_dims(shape, grad.shape)
    # for arrays, `compute`, which skips the checks of a call
    total = reductions.sum.compute(grad, dim=dims) if type(grad) is np.ndarray else np.sum(grad, axis=dims)
    return np.reshape(total, shape)


def _run_hooks(node: Node | Leaf, grad: Any, wrap: Callable[[Any], Tensor]) -> Any:
    """Return the gradient after the node's hooks; add it to the node's `grad` if the node retains its gradient."""
    tensor = gradient_as_tensor(grad, wrap).clone()
    functions = dict(node.hooks or {})  # a copy: a hook may remove itself
    is_retained = functions.pop(RETAIN, False)
    for hook in functions.values():
        tensor = hooks.check_replacement("register_hook", tensor, hook(tensor))
    if is_retained:
        _accumulate(node, tensor.clone())
    return hooks.copy_for_tape(tensor)


def _accumulate(node: Node | Leaf, grad: Tensor) -> None:
    """Add to the `grad` of a node; try again if another thread has changed it meanwhile."""
    if mode.trace is not None:
        mode.trace.check_gradient(node)
    while True:
        # without the lock, because the sum takes long; `Leaf.grad` takes the lock if it must fetch a deferred gradient
        previous = node.grad
        total = grad if previous is None else previous + grad
        with _grad_lock:
            if getattr(node, "deferred_grad", None) is None and node.grad is previous:
                node.grad = total
                return


def _after_fork() -> None:
    """Replace the lock in a forked process, where the thread that held it no longer exists."""
    global _grad_lock
    _grad_lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
