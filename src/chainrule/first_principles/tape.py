"""A tape of your own: automatic differentiation, one number at a time.

A `Value` is a number that remembers how it was computed: from which values (its parents), and how fast it changes with
each of them (the local slopes). That is all that the chain rule needs. `backward` walks from a result back to all
values that it was computed from:

    1. order      a value comes after its parents, so going backward it is complete before it is passed on
    2. multiply   a parent gets its share: the slope of the result in this value, times the local slope
    3. add        the shares of all uses are added up in `gradient`, with +=

    x = Value(3.0)
    y = x * x + 2 * x
    backward(y)
    x.gradient        # 8.0, which is 2x + 2

The gradients of inputs and weights are added to what is there already: set them to 0 before the next `backward`, with
`zero_gradients`.

Source: Linnainmaa, Taylor expansion of the accumulated rounding error (BIT, 1976); as a program: Griewank and Walther,
Evaluating Derivatives (2008), chapter 3.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Value:
    """A number that remembers how it was computed.

    Args:
        number: the number.
        parents: the values it was computed from; none for an input or a weight.
        slopes: the local slopes, one for each parent: how fast `number` changes with it.

    Attributes:
        gradient: the slope of a result in this value, after `backward(result)`.
    """

    def __init__(self, number: float, parents: Sequence[Value] = (), slopes: Sequence[float] = ()) -> None:
        self.number, self.parents, self.slopes = number, parents, slopes
        self.gradient = 0.0

    def __add__(self, other: Value | float) -> Value:
        """The sum; it changes as fast as each of its parts."""
        other = as_value(other)
        return Value(self.number + other.number, (self, other), (1.0, 1.0))

    def __mul__(self, other: Value | float) -> Value:
        """The product; it changes with one factor as fast as the other factor is large."""
        other = as_value(other)
        return Value(self.number * other.number, (self, other), (other.number, self.number))

    def __sub__(self, other: Value | float) -> Value:
        """The difference."""
        other = as_value(other)
        return Value(self.number - other.number, (self, other), (1.0, -1.0))

    def __pow__(self, exponent: float) -> Value:
        """A power with a fixed exponent.

        Raises:
            ValueError: the power is not a real number, such as a root of a negative number, or has no slope there.
        """
        slope = exponent * math.pow(self.number, exponent - 1) if exponent else 0.0
        return Value(math.pow(self.number, exponent), (self,), (slope,))

    def sigmoid(self) -> Value:
        """σ(z) = 1 / (1 + e⁻ᶻ), with the slope σ (1 - σ)."""
        bent = 1 / (1 + math.exp(-self.number)) if self.number > -700 else 0.0  # e⁷¹⁰ is too large for a float
        return Value(bent, (self,), (bent * (1 - bent),))

    __radd__, __rmul__ = (
        __add__,
        __mul__,
    )  # for 2 + x and 2 * x: Python calls them if the left side cannot compute the result


def as_value(number: Value | float) -> Value:
    """A plain number as a `Value` without parents; a `Value` as it is."""
    return number if isinstance(number, Value) else Value(number)


def order(result: Value) -> list[Value]:
    """The values from which `result` was computed, and itself, each after all of its parents.

    This is called a topological order. Waiting values are kept in a list, not in nested calls: a long computation would
    exceed Python's limit on the depth of calls.
    """
    done: list[Value] = []
    seen: set[Value] = set()
    waiting = [(result, False)]
    while waiting:
        value, parents_done = waiting.pop()
        if parents_done:
            done.append(value)
        elif value not in seen:
            seen.add(value)
            waiting.append((value, True))  # again, when its parents are done
            waiting += [(parent, False) for parent in value.parents]
    return done


def backward(result: Value) -> None:
    """Add the slope of `result` in each value that it was computed from to that value's `gradient`."""
    ordered = order(result)
    for value in ordered:
        if value.parents:
            value.gradient = 0.0  # recomputed; only inputs and weights keep what earlier calls have added
    result.gradient += 1.0
    for value in reversed(ordered):
        for parent, slope in zip(value.parents, value.slopes, strict=True):
            parent.gradient += slope * value.gradient


def zero_gradients(values: Iterable[Value]) -> None:
    """Set gradients to 0, before the next `backward`."""
    for value in values:
        value.gradient = 0.0


def main() -> None:
    """Differentiate an expression, then let a single neuron learn OR."""
    x = Value(3.0)
    y = x * x + 2 * x
    backward(y)
    print(f"y = x² + 2x at x = 3: {y.number:.4f}, slope {x.gradient:.4f}, by hand 2x + 2 = 8.0000")
    weights = [Value(0.1), Value(-0.2), Value(0.0)]
    for epoch in range(201):
        cost = Value(0.0)
        for first, second, wanted in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1)):
            guess = (weights[0] * first + weights[1] * second + weights[2]).sigmoid()
            cost = cost + (guess - wanted) ** 2
        zero_gradients(weights)
        backward(cost)
        for weight in weights:
            weight.number -= 2.0 * weight.gradient
        if epoch % 50 == 0:
            print(f"epoch {epoch:3}: cost {cost.number:.4f}, weights {[round(w.number, 4) for w in weights]}")


if __name__ == "__main__":
    main()
