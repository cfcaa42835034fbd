"""MLPClassifier and MLPRegressor arrive at scikit-learn's numbers, and refuse what they cannot do."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import signal

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: make test-bridges")

from scipy import sparse
from sklearn import neural_network
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from chainrule.sklearn import MLPClassifier, MLPRegressor
from chainrule.sklearn import steps as stored_steps

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS = {
    "adam": {},
    "adam, other options": {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "alpha": 0.1, "batch_size": 32},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "sgd without Nesterov": {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5},
    "sgd without momentum": {"solver": "sgd", "momentum": 0, "shuffle": False},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1, "power_t": 0.3},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 2},
    "lbfgs": {"solver": "lbfgs", "alpha": 0.01},
    "tanh": {"activation": "tanh", "hidden_layer_sizes": (7, 5)},
    "logistic": {"activation": "logistic", "hidden_layer_sizes": 9},
    "identity": {"activation": "identity"},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3, "learning_rate_init": 0.02},
}
HISTORY = ("n_iter_", "t_", "loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_")


def assert_same_fit(ours, theirs):
    assert (ours.n_layers_, ours.n_outputs_, ours.out_activation_) == (
        theirs.n_layers_, theirs.n_outputs_, theirs.out_activation_
    )  # fmt: skip
    for name in HISTORY:
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name):
            value = getattr(theirs, name)
            assert getattr(ours, name) == (value if value is None else pytest.approx(value, rel=1e-8)), name
    for own, other in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert own.dtype == other.dtype
        np.testing.assert_allclose(own, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_classifier_equals_scikit_learns(settings):
    X, y = load_iris(return_X_y=True)
    options = {"max_iter": 25, "random_state": 3, **settings}
    ours, theirs = MLPClassifier(**options).fit(X, y), neural_network.MLPClassifier(**options).fit(X, y)
    assert_same_fit(ours, theirs)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.score(X, y) == theirs.score(X, y)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_regressor_equals_scikit_learns(settings):
    X, y = load_diabetes(return_X_y=True)
    options = {"max_iter": 15, "random_state": 5, **settings}
    y = (y - y.mean()) / y.std()
    ours, theirs = MLPRegressor(**options).fit(X, y), neural_network.MLPRegressor(**options).fit(X, y)
    assert_same_fit(ours, theirs)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-7, atol=1e-9)


def weights_of(y):
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    weight[::7] = 0
    return weight


OTHER_TARGETS = {
    "two classes": lambda: (load_iris().data, np.where(load_iris().target == 2, "yes", "no")),
    "labels": lambda: make_multilabel_classification(60, 5, n_classes=4, random_state=0),
}


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("data", OTHER_TARGETS.values(), ids=OTHER_TARGETS)
def test_binary_and_multilabel_targets_and_weights(data, is_weighted):
    X, y = data()
    weight = weights_of(y) if is_weighted else None
    options = {"hidden_layer_sizes": 10, "max_iter": 20, "random_state": 1}
    ours = MLPClassifier(**options).fit(X, y, sample_weight=weight)
    theirs = neural_network.MLPClassifier(**options).fit(X, y, sample_weight=weight)
    assert_same_fit(ours, theirs)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-7)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_several_targets_and_counts(loss):
    X, y = make_regression(80, 6, n_targets=3, random_state=2)
    y = np.abs(y).round() % 5
    options = {"loss": loss, "hidden_layer_sizes": 10, "max_iter": 20, "random_state": 1}
    ours = MLPRegressor(**options).fit(X, y, sample_weight=weights_of(y))
    theirs = neural_network.MLPRegressor(**options).fit(X, y, sample_weight=weights_of(y))
    assert_same_fit(ours, theirs)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-7)


def test_parameters_are_scikit_learns():
    for ours, theirs in (
        (MLPClassifier, neural_network.MLPClassifier), (MLPRegressor, neural_network.MLPRegressor)
    ):  # fmt: skip
        assert ours().get_params() == theirs().get_params()
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_types_of_numbers(dtype):
    X = np.random.default_rng(0).integers(0, 2, (40, 6)).astype(dtype)
    y = X[:, 0].astype(int)
    options = {"hidden_layer_sizes": 8, "max_iter": 60, "learning_rate_init": 0.05, "random_state": 0}
    ours, theirs = MLPClassifier(**options).fit(X, y), neural_network.MLPClassifier(**options).fit(X, y)
    assert ours.coefs_[0].dtype == theirs.coefs_[0].dtype
    assert ours.predict_proba(X).dtype == theirs.predict_proba(X).dtype
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=2e-5)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_input_gives_the_same_bits(container, solver):
    X, y = load_digits(return_X_y=True, n_class=4)
    X, y = X[:150], y[:150]
    options = {"solver": solver, "hidden_layer_sizes": 8, "max_iter": 8, "random_state": 0}
    dense, thin = MLPClassifier(**options).fit(X, y), MLPClassifier(**options).fit(container(X), y)
    for own, other in zip(dense.coefs_, thin.coefs_, strict=True):
        np.testing.assert_array_equal(own, other)
    np.testing.assert_array_equal(dense.predict_proba(X), thin.predict_proba(container(X)))


def test_partial_fit_goes_on_with_the_optimizer():
    X, y = load_iris(return_X_y=True)
    for solver in ("adam", "sgd"):
        ours, theirs = (
            kind(solver=solver, hidden_layer_sizes=6, random_state=0, batch_size=40)
            for kind in (MLPClassifier, neural_network.MLPClassifier)
        )
        for _ in range(6):
            ours.partial_fit(X, y, classes=[0, 1, 2])
            theirs.partial_fit(X, y, classes=[0, 1, 2])
            ours = pickle.loads(pickle.dumps(ours))  # noqa: S301  # our own bytes
        assert_same_fit(ours, theirs)


def test_single_precision_goes_on_in_the_networks_precision():
    X, y = load_iris(return_X_y=True)
    for kind, targets in ((MLPClassifier, y), (MLPClassifier, y == 2), (MLPRegressor, X[:, 1])):
        estimator = kind(5, max_iter=3, random_state=0) if kind is MLPClassifier else kind(hidden_layer_sizes=5)
        double = copy.deepcopy(estimator.fit(X, targets)).partial_fit(X.astype("float32").astype(float), targets)
        single = estimator.partial_fit(X.astype("float32"), targets)
        assert single.coefs_[0].dtype == np.float64
        np.testing.assert_allclose(single.coefs_[0], double.coefs_[0], rtol=1e-6)


def test_warm_start():
    X, y = load_iris(return_X_y=True)
    ours, theirs = (
        kind(warm_start=True, max_iter=7, random_state=0) for kind in (MLPClassifier, neural_network.MLPClassifier)
    )
    for _ in range(2):
        assert_same_fit(ours.fit(X, y), theirs.fit(X, y))
    with pytest.raises(ValueError, match=re.escape("layers of [4, 50, 3] do not fit the weights of the previous fit")):
        ours.set_params(hidden_layer_sizes=50).fit(X, y)


def test_gradient_against_differences():
    """What L-BFGS gets is the derivative of the loss that it gets, also for several targets."""
    X, y = make_regression(30, 4, n_targets=2, random_state=0)
    estimator = MLPRegressor("squared_error", 5, "tanh", solver="lbfgs", alpha=0.3, max_iter=1, random_state=0).fit(
        X, y
    )
    arguments = [np.asarray(a) for a in (X, y)]
    with estimator._borrow_step() as step:
        loss, _, *gradients = step.gradients(*arguments, None, np.array(0.3 / 30))
        for parameter, gradient in zip(step.arrays(), gradients, strict=True):
            for index in np.ndindex(parameter.shape):
                values = []
                for change in (1e-6, -2e-6):
                    parameter[index] += change
                    values.append(step.gradients(*arguments, None, np.array(0.3 / 30))[0].item())
                parameter[index] += 1e-6
                assert (values[0] - values[1]) / 2e-6 == pytest.approx(gradient.numpy()[index], rel=1e-4, abs=1e-3)
    assert loss.item() > 0


def test_grid_search_in_two_processes_gives_the_same_bits():
    X, y = load_iris(return_X_y=True)
    grid = {"mlpclassifier__hidden_layer_sizes": [(5,), (8, 4)], "mlpclassifier__alpha": [1e-4, 1.0]}
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(max_iter=12, random_state=0))
    alone, shared = (GridSearchCV(pipeline, grid, cv=3, n_jobs=jobs).fit(X, y) for jobs in (1, 2))
    assert alone.best_params_ == shared.best_params_
    for key, values in alone.cv_results_.items():
        if "time" not in key and key != "params":
            np.testing.assert_array_equal(values, shared.cv_results_[key])
    np.testing.assert_array_equal(alone.predict_proba(X), shared.predict_proba(X))
    best = [search.best_estimator_[-1] for search in (alone, shared)]
    for own, other in zip(best[0].coefs_, best[1].coefs_, strict=True):
        np.testing.assert_array_equal(own, other)


def test_threads_do_not_share_a_step():
    X, y = load_iris(return_X_y=True)
    estimator = MLPClassifier(6, max_iter=40, random_state=0)
    alone = cross_val_score(estimator, X, y, cv=6, n_jobs=1)
    from joblib import parallel_config

    with parallel_config("threading"):
        np.testing.assert_array_equal(cross_val_score(estimator, X, y, cv=6, n_jobs=3), alone)


def test_a_second_fit_reuses_the_compiled_step_and_none_of_the_first_ones_weights():
    X, y = load_iris(return_X_y=True)
    stored_steps._idle.clear()
    first = MLPClassifier(11, max_iter=5, random_state=0).fit(X, y)
    kept = copy.deepcopy(first.coefs_)
    (steps,) = stored_steps._idle.values()
    specializations = sum(map(len, steps[0].train.specializations.values()))
    second = MLPClassifier(11, max_iter=5, random_state=1, alpha=0.5, learning_rate_init=0.1).fit(X, y)
    assert sum(map(len, steps[0].train.specializations.values())) == specializations
    assert_same_fit(
        second,
        neural_network.MLPClassifier(11, max_iter=5, random_state=1, alpha=0.5, learning_rate_init=0.1).fit(X, y),
    )
    for array, old in zip(first.coefs_, kept, strict=True):
        np.testing.assert_array_equal(array, old)


def test_interrupt_keeps_what_was_learned():
    X, y = load_iris(return_X_y=True)
    estimator = MLPClassifier(5, max_iter=10**6, tol=0, n_iter_no_change=np.inf, random_state=0)

    def interrupt(*_):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.4)
    with pytest.warns(UserWarning, match="interrupted"):
        estimator.fit(X, y)
    assert 0 < estimator.n_iter_ < 10**6
    assert estimator.predict(X).shape == y.shape


def test_verbose_prints_scikit_learns_lines(capsys):
    X, y = load_iris(return_X_y=True)
    options = {"hidden_layer_sizes": 4, "max_iter": 30, "random_state": 0, "verbose": True, "early_stopping": True}
    for settings in ({}, {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1}):
        MLPClassifier(**options, **settings).fit(X, y)
        ours = capsys.readouterr().out
        neural_network.MLPClassifier(**options, **settings).fit(X, y)
        assert ours == capsys.readouterr().out


def test_early_stopping_with_one_class_is_scikit_learns():
    X, y = np.random.default_rng(0).normal(size=(60, 4)), np.zeros(60, int)
    options = {"max_iter": 15, "random_state": 1, "early_stopping": True, "validation_fraction": 0.2}
    ours, theirs = MLPClassifier(**options).fit(X, y), neural_network.MLPClassifier(**options).fit(X, y)
    assert (ours.n_iter_, ours.validation_scores_) == (theirs.n_iter_, theirs.validation_scores_)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9)


INVALID = [
    ({"alpha": -1}, "MLPRegressor: alpha must be a number of at least 0, not -1"),
    ({"alpha": "0.1"}, "alpha must be a number of at least 0, not '0.1'"),
    ({"solver": "newton"}, "solver must be one of 'lbfgs', 'sgd', 'adam', not 'newton'"),
    ({"activation": "gelu"}, "activation must be one of 'identity', 'logistic', 'relu', 'tanh', not 'gelu'"),
    ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes must be integers > 0, not (5, 0)"),
    ({"hidden_layer_sizes": 2.5}, "hidden_layer_sizes must be integers > 0, not 2.5"),
    ({"batch_size": 0}, "batch_size must be 'auto' or an integer of at least 1, not 0"),
    ({"batch_size": "all"}, "batch_size must be 'auto' or an integer of at least 1, not 'all'"),
    ({"learning_rate_init": 0}, "learning_rate_init must be a number above 0, not 0"),
    ({"learning_rate_init": float("nan")}, "learning_rate_init must be a number above 0, not nan"),
    ({"beta_1": 1}, "beta_1 must be a number of at least 0 and below 1, not 1"),
    ({"max_iter": 1.5}, "max_iter must be an integer of at least 1, not 1.5"),
    ({"n_iter_no_change": 0}, "n_iter_no_change must be an integer of at least 1, or inf, not 0"),
    ({"shuffle": "yes"}, "shuffle must be True or False, not 'yes'"),
    ({"loss": "absolute"}, "loss must be one of 'squared_error', 'poisson', not 'absolute'"),
]


@pytest.mark.parametrize(("options", "message"), INVALID, ids=[str(options) for options, _ in INVALID])
def test_invalid_parameters(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MLPRegressor(**options).fit([[0.0], [1.0]], [0.0, 1.0])


def test_invalid_data():
    X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]
    for weight, message in (
        ([1.0, 1.0], re.escape("sample_weight has shape (2,), but there are 3 examples")),
        ([1.0, -2.0, 1.0], "a sample_weight must not be negative, but one is -2.0"),
        ([0.0, 0.0, 0.0], "every sample_weight is zero"),
        ([1.0, np.nan, 1.0], "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            MLPRegressor().fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match="loss='poisson' takes targets of at least 0, not -1"):
        MLPRegressor(loss="poisson").fit(X, [0.0, -1.0, 2.0])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        MLPClassifier().partial_fit(X, ["a", "b", "a"])
    with pytest.warns(UserWarning, match="batch_size=5 is larger than the 3 examples and is clipped"):
        MLPRegressor(batch_size=5, max_iter=1).fit(X, y)


def test_convergence_warning():
    X, y = load_iris(return_X_y=True)
    for solver, message in (("adam", "Maximum iterations"), ("lbfgs", "lbfgs failed to converge after 2 iteration")):
        with pytest.warns(ConvergenceWarning, match=message):
            MLPClassifier(solver=solver, max_iter=2, random_state=0).fit(X, y)
