"""The class of what is no digit."""

import numpy as np
import pytest

from chainrule.images.digits import digit_names, split_probabilities


@pytest.mark.parametrize("where", [0, 3, 10])
def test_the_probabilities_of_digits_and_of_no_digit(where):
    rows = np.random.default_rng(where).dirichlet(np.ones(11), 4)
    classes = [str(digit) for digit in range(10)]
    classes.insert(where, "none")
    digits, none = split_probabilities(rows, classes)
    for i, row in enumerate(rows.tolist()):
        assert none[i] == row.pop(where)
        assert digits[i].tolist() == row
    assert digit_names(classes) == tuple("0123456789")


def test_a_network_without_such_a_class_never_says_no_digit():
    rows = np.random.default_rng(0).dirichlet(np.ones(10), 3).astype(np.float32)
    digits, none = split_probabilities(rows, "0123456789")
    assert np.array_equal(digits, rows)
    assert none.tolist() == [0, 0, 0]
    assert digit_names("0123456789") == tuple("0123456789")


@pytest.mark.parametrize("shape", [(3, 10), (11,), (0, 12)])
def test_names_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match=r"11 class names do not fit probabilities of shape \("):
        split_probabilities(np.zeros(shape), [*"0123456789", "none"])
