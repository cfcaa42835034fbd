"""The class "no digit" of networks that have it: separates its probability from those of the digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

NO_DIGIT = "none"
"""The name of the class of images that do not show a digit."""


def split_probabilities(
    probabilities: NDArray[np.floating], classes: Sequence[str]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Split class probabilities into those of the digits and that of "no digit".

        import numpy as np
        from chainrule.images.digits import split_probabilities

        digits, no_digit = split_probabilities(np.array([[0.2, 0.1, 0.7]]), ["0", "1", "none"])
        float(no_digit[0])  # 0.7

    The digits' probabilities are not scaled: they sum to 1 minus the probability of "no digit", so the largest is the
    confidence that the picture shows this digit. The network's answer is "no digit" if that is the likeliest class.

    Args:
        probabilities: (N, classes).
        classes: the names of the classes, in the order of the columns. `NO_DIGIT` may be one of them.

    Returns:
        The probabilities of the digits, (N, digits), and of "no digit", (N,): 0 if the network has no such class.

    Raises:
        ValueError: `probabilities` does not have one column per name.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] != len(classes):
        raise ValueError(
            f"split_probabilities: {len(classes)} class names do not fit probabilities of shape "
            f"{probabilities.shape}, which must be (N, {len(classes)})"
        )
    digit_columns = [i for i, name in enumerate(classes) if name != NO_DIGIT]
    other_columns = [i for i, name in enumerate(classes) if name == NO_DIGIT]
    return probabilities[:, digit_columns], probabilities[:, other_columns].sum(axis=1)


def digit_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes that are digits: all but `NO_DIGIT`."""
    return tuple(name for name in classes if name != NO_DIGIT)
