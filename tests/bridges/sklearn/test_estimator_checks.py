"""scikit-learn's own checks of an estimator, all of them, with no failure expected."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: make test-bridges")

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import estimator_checks_generator

from chainrule import nn
from chainrule.sklearn import Classifier, MLPClassifier, MLPRegressor, Regressor


def build_network(inputs, outputs, generator):
    layers = nn.Linear(inputs, 40, generator=generator), nn.ReLU(), nn.Linear(40, outputs, generator=generator)
    return nn.Sequential(*layers).double()  # some checks compare fits to seven digits


# As many passes as scikit-learn's own tests let its estimators take
ESTIMATORS = [
    MLPClassifier(max_iter=100),
    MLPRegressor(max_iter=100),
    Classifier(build_network, max_iter=100, learning_rate_init=0.01),
    Regressor(build_network, max_iter=100, learning_rate_init=0.01),
]


CHECKS = [pair for estimator in ESTIMATORS for pair in estimator_checks_generator(estimator)]


def name_of(value):
    """What a test is called by: a class, or a check, and no address, which each process has another of."""
    return getattr(getattr(value, "func", None), "__name__", type(value).__name__)


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=name_of)
def test_estimator(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)
