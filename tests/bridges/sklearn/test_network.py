"""Classifier and Regressor: any network in scikit-learn's pipelines."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: make test-bridges")

from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_multilabel_classification
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import chainrule
from chainrule import nn
from chainrule.sklearn import Classifier, MLPClassifier, MLPRegressor, Regressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def build_network(inputs, outputs, generator):
    return nn.Sequential(
        nn.Linear(inputs, 30, generator=generator), nn.BatchNorm1d(30), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(30, outputs, generator=generator),
    )  # fmt: skip


def copy_of_layers(estimator):
    """A network of nn.Linear with an estimator's first weights, in double precision."""
    linears = []
    for weight, bias in zip(estimator.coefs_, estimator.intercepts_, strict=True):
        linear = nn.Linear(*weight.shape).double()
        linear.load_state_dict({"weight": np.ascontiguousarray(weight.T), "bias": bias})
        linears += [linear, nn.ReLU()]
    return nn.Sequential(*linears[:-1])


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_perceptron_of_modules_learns_as_the_estimator_does(solver):
    """The same network, once as MLP*, once as layers: only the first weights have to be given."""
    X, y = load_iris(return_X_y=True)
    for data, fixed, free in (((X, y), MLPClassifier, Classifier), ((X, X[:, :2]), MLPRegressor, Regressor)):
        options = {"solver": solver, "alpha": 0.1, "shuffle": False, "batch_size": 32, "random_state": 0}
        start = fixed(hidden_layer_sizes=6, max_iter=1, learning_rate_init=1e-300, **options).fit(*data)
        layers = free(copy_of_layers(start), max_iter=9, learning_rate_init=0.02, **options).fit(*data)
        arrays = fixed(hidden_layer_sizes=6, max_iter=9, learning_rate_init=0.02, **options).fit(*data)
        np.testing.assert_allclose(layers.loss_curve_, arrays.loss_curve_, rtol=1e-9)
        for linear, weight in zip(list(layers.network_.children())[::2], arrays.coefs_, strict=True):
            np.testing.assert_allclose(linear.weight.numpy().T, weight, rtol=1e-7, atol=1e-10)


def test_learns_digits_with_layers_that_differ_in_training():
    X, y = load_digits(return_X_y=True)
    model = make_pipeline(
        StandardScaler(),
        Classifier(build_network, max_iter=12, learning_rate_init=0.02, early_stopping=True, random_state=0),
    )
    scores = cross_val_score(model, X, y, cv=3)
    assert scores.min() > 0.9
    np.testing.assert_array_equal(cross_val_score(model, X, y, cv=3), scores)  # random_state: dropout and all


def test_the_state_of_the_callers_generator_is_kept():
    X, y = load_iris(return_X_y=True)
    before = chainrule.manual_seed(7).bit_generator.state
    Classifier(build_network, max_iter=2, random_state=0).fit(X, y)
    assert chainrule.default_generator().bit_generator.state == before


@pytest.mark.parametrize(
    ("model", "options"),
    [("mlp", {}), ("cnn", {"input_shape": (8, 8)}), (build_network, {})],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_pickled_estimators_predict_the_same_bits_and_go_on(model, options):
    X, y = load_digits(return_X_y=True, n_class=3)
    X, y = X[:120] / 16, np.array(["none", "one", "two"])[y[:120]]
    estimator = Classifier(model, max_iter=6, random_state=0, learning_rate_init=0.02, **options).fit(X, y)
    assert estimator.score(X, y) > 0.9
    restored = pickle.loads(pickle.dumps(estimator))  # noqa: S301  # our own bytes
    np.testing.assert_array_equal(restored.predict_proba(X), estimator.predict_proba(X))
    np.testing.assert_array_equal(restored.predict(X), estimator.predict(X))
    for _ in range(2):
        both = [e.partial_fit(X, y).predict_proba(X) for e in (estimator, restored)]
        np.testing.assert_array_equal(*both)


def test_a_module_is_copied_and_pickled():
    X, y = load_iris(return_X_y=True)
    module = build_network(4, 3, np.random.default_rng(0))
    module[0].weight.requires_grad_(False)
    before = module[4].weight.numpy().copy()
    estimator = clone(Classifier(module, max_iter=10, random_state=0)).fit(X, y)
    np.testing.assert_array_equal(module[4].weight.numpy(), before)
    np.testing.assert_array_equal(estimator.network_[0].weight.numpy(), module[0].weight.numpy())  # frozen
    restored = pickle.loads(pickle.dumps(estimator))  # noqa: S301  # our own bytes
    assert [p.requires_grad for p in restored.network_.parameters()] == [p.requires_grad for p in module.parameters()]
    np.testing.assert_array_equal(restored.fit(X, y).predict_proba(X), estimator.predict_proba(X))


def test_labels_and_numbers():
    X, y = make_multilabel_classification(80, 6, n_classes=3, random_state=0)
    X = StandardScaler().fit_transform(X)
    estimator = Classifier(build_network, max_iter=150, learning_rate_init=0.02, random_state=0).fit(X, y)
    assert estimator.predict(X).shape == y.shape
    assert estimator.score(X, y) > 0.8
    X, y = load_diabetes(return_X_y=True)
    X, y = X / X.std(0), (y - y.mean()) / y.std()
    estimator = Regressor(build_network, max_iter=60, learning_rate_init=0.02, random_state=0).fit(X, y)
    assert estimator.score(X, y) > 0.5
    assert estimator.predict(X).shape == y.shape
    assert Regressor("mlp", max_iter=3).fit(X, np.stack([y, -y], 1)).predict(X).shape == (len(y), 2)


REFUSALS = [
    ({"model": 3}, "model must be a network, a function that returns one, or a name, not int"),
    ({"model": "nope"}, "unknown model 'nope'; choose from mlp, "),
    ({"model": "gpt"}, "model 'gpt' has a loss of its own, or reads texts: pass a function or a network"),
    ({"model": "sigmoid_mlp"}, "model 'sigmoid_mlp' has a loss of its own"),
    ({"model": lambda: 3}, "model must return a network, not int"),
    ({"model": nn.ReLU()}, "the model has no parameters to train"),
    (
        {"model": nn.Linear(4, 2)},
        "the model must return scores of shape (2, 3) for 2 examples of shape (4,), not (2, 2)",
    ),
    ({"model": nn.Linear(3, 3)}, "linear: input (2, 4) does not fit weight (3, 3)"),
    ({"model": "mlp", "input_shape": (3, 3)}, "input_shape=(3, 3) has 9 numbers, but an example has 4"),
    ({"model": "mlp", "input_shape": 4}, "input_shape must be a tuple of sizes, or None, not 4"),
    ({"model": "mlp", "solver": "lbfgs"}, "Classifier: solver must be one of 'sgd', 'adam', not 'lbfgs'"),
]


@pytest.mark.parametrize(("options", "message"), REFUSALS, ids=[message for _, message in REFUSALS])
def test_refusals(options, message):
    X, y = load_iris(return_X_y=True)
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        Classifier(**options).fit(X, y)


def test_without_scikit_learn_one_sentence_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import chainrule.sklearn"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = (
        "ImportError: chainrule.sklearn needs scikit-learn, which is not installed: pip install 'chainrule[sklearn]'"
    )
    assert result.stderr.strip().splitlines()[-1] == expected
