"""The class of what is no digit, in the probabilities of a network that has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

NO_DIGIT = "none"
"""The name of the class of images that show no digit."""


def split_probabilities(
    probabilities: NDArray[np.floating], classes: Sequence[str]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Divide class probabilities into those of the digits and that of "no digit".

        import numpy as np
        from chainrule.images.digits import split_probabilities

        digits, none = split_probabilities(np.array([[0.2, 0.1, 0.7]]), ["0", "1", "none"])
        float(none[0])  # 0.7

    The digits' probabilities are not scaled: they sum to 1 minus that of no digit, so the largest is the confidence
    that this digit is in the picture. An image shows no digit if `none` exceeds each of them.

    Args:
        probabilities: (N, classes).
        classes: the names of the classes, in this order. `NO_DIGIT` may be one of them, usually the last.

    Returns:
        probabilities of the other classes, (N, digits), and of no digit, (N,): 0 if the network has no such class.

    Raises:
        ValueError: the number of names is not that of the classes.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] != len(classes):
        raise ValueError(
            f"split_probabilities: {len(classes)} names of classes do not fit probabilities of shape "
            f"{probabilities.shape}, which must be (N, {len(classes)})"
        )
    digits = [i for i, name in enumerate(classes) if name != NO_DIGIT]
    none = [i for i, name in enumerate(classes) if name == NO_DIGIT]
    return probabilities[:, digits], probabilities[:, none].sum(axis=1)


def digit_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes that are digits: all but `NO_DIGIT`."""
    return tuple(name for name in classes if name != NO_DIGIT)
