"""`MLPClassifier` and `MLPRegressor`, with the parameters, defaults and attributes of scikit-learn's."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from chainrule.sklearn.fitting import NetworkEstimator
from chainrule.sklearn.optimizers import KINDS
from chainrule.sklearn.outputs import EXP, IDENTITY, LOGISTIC, SOFTMAX
from chainrule.sklearn.parameters import Rule, one_of
from chainrule.sklearn.perceptron import ACTIVATIONS, Perceptron, initial_layers
from chainrule.sklearn.steps import Step, borrow
from chainrule.sklearn.targets import SPARSE_FORMATS, NetworkClassifier, NetworkRegressor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from chainrule.sklearn.outputs import Output


def _are_sizes(value: Any) -> bool:
    sizes = np.asarray(value)
    return sizes.ndim <= 1 and (sizes.size == 0 or (sizes.dtype.kind in "iu" and bool(np.all(sizes > 0))))


def _is_stochastic(estimator: Any) -> bool:
    """Return whether `partial_fit` is available; raise an error if it is not."""
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


class Perceptrons(NetworkEstimator):
    """The part that both estimators share: a perceptron whose layers are lists of arrays.

    Attributes:
        coefs_: the weights of each layer, (inputs, outputs).
        intercepts_: the biases of each layer, (outputs,).
        n_layers_: number of layers, counting the inputs and the outputs.
    """

    _rules: ClassVar[dict[str, Rule]] = {
        "hidden_layer_sizes": Rule(_are_sizes, "integers > 0"),
        "solver": one_of("lbfgs", "sgd", "adam"),
    }

    def _sizes(self, n_features: int) -> list[int]:
        """Return the number of units of each layer, from the inputs to the outputs."""
        return [n_features, *np.ravel(self.hidden_layer_sizes).astype(int).tolist(), self.n_outputs_]

    def _input_shape(self) -> Sequence[int]:
        return (self.n_features_in_,)

    def _has_network(self) -> bool:
        return hasattr(self, "coefs_")

    def _create(self, n_features: int, dtype: Any) -> None:
        sizes = self._sizes(n_features)
        self.n_layers_ = len(sizes)
        self.coefs_, self.intercepts_ = initial_layers(sizes, self.activation, dtype, self._random_state)

    @contextmanager
    def _borrow_step(self) -> Iterator[Step]:
        sizes = self._sizes(self.n_features_in_)
        shapes = [np.shape(array) for array in self.coefs_]
        if shapes != list(pairwise(sizes)):
            raise ValueError(f"layers of {sizes} do not fit the weights of the previous fit, of shapes {shapes}")
        dtype = np.result_type(*self.coefs_, *self.intercepts_)

        def build() -> Step:
            coefs = [np.empty(np.shape(array), dtype) for array in self.coefs_]
            intercepts = [np.empty(np.shape(array), dtype) for array in self.intercepts_]
            network = Perceptron(coefs, intercepts, ACTIVATIONS[self.activation])
            return Step(network, self._output(), KINDS[self.solver](network.parameters()), network.coefs)

        key = (*sizes, dtype, self.activation, self._output().name, self.solver)
        with borrow(key, build) as step:
            step.write([*self.coefs_, *self.intercepts_])
            yield step

    def _keep(self, step: Step) -> None:
        arrays = [array.copy() for array in step.arrays()]
        self.coefs_, self.intercepts_ = arrays[: len(self.coefs_)], arrays[len(self.coefs_) :]

    def _predict_outputs(self, X: Any) -> NDArray[Any]:
        """Return predictions (N, outputs)."""
        X = validate_data(self, X, accept_sparse=SPARSE_FORMATS, reset=False)
        network = Perceptron(self.coefs_, self.intercepts_, ACTIVATIONS[self.activation])
        return self._compute(network, X, np.result_type(*self.coefs_))


class MLPClassifier(NetworkClassifier, Perceptrons):
    """A multi-layer perceptron that predicts classes, as `sklearn.neural_network.MLPClassifier`.

    Args:
        hidden_layer_sizes: number of units of each hidden layer.
        activation: of the hidden layers: "identity", "logistic", "tanh" or "relu".
        solver: "adam", "sgd", or "lbfgs", which uses all examples in each step.
        alpha: strength of the penalty ½ alpha Σ w² / n on the weights.
        batch_size: examples per step; "auto" is 200, or all if there are fewer.
        learning_rate: the schedule of "sgd": "constant"; "invscaling", learning_rate_init / t^power_t; or "adaptive",
            divided by 5 when the loss stops improving.
        learning_rate_init: the initial learning rate of "sgd" and "adam".
        power_t: see `learning_rate`.
        max_iter: maximum number of passes over the data, or of iterations of "lbfgs".
        shuffle: draw a new order of the examples in each pass.
        random_state: a seed or a generator, for the weights, the order and the split for early stopping.
        tol: by how much the loss or validation score has to improve; for "lbfgs", the largest gradient at the end.
        verbose: print the loss of each pass.
        warm_start: continue `fit` from the weights of the last fit.
        momentum: of "sgd", from 0 to 1.
        nesterovs_momentum: whether the momentum of "sgd" is Nesterov's.
        early_stopping: set examples aside, stop when their accuracy no longer improves, and restore the best weights.
        validation_fraction: the fraction of examples set aside.
        beta_1: of "adam", the decay factor of the mean of the gradients.
        beta_2: of "adam", the decay factor of the mean of their squares.
        epsilon: of "adam", added to the denominator.
        n_iter_no_change: number of passes without improvement after which training ends.
        max_fun: for "lbfgs", the maximum number of computations of the loss.

    Attributes are those of scikit-learn's class; see also the bases.

        from sklearn.datasets import load_iris
        from chainrule.sklearn import MLPClassifier

        X, y = load_iris(return_X_y=True)
        MLPClassifier(solver="lbfgs", random_state=0).fit(X, y).score(X, y) > 0.98  # True
    """

    def __init__(
        self, hidden_layer_sizes: int | Sequence[int] = (100,), activation: str = "relu", *, solver: str = "adam",
        alpha: float = 0.0001, batch_size: int | str = "auto", learning_rate: str = "constant",
        learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None, tol: float = 1e-4, verbose: bool = False,
        warm_start: bool = False, momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        n_iter_no_change: float = 10, max_fun: int = 15000,
    ) -> None:  # fmt: skip
        self._store(locals())

    def _output(self) -> Output:
        return SOFTMAX if self._label_binarizer.y_type_ == "multiclass" else LOGISTIC

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> MLPClassifier:
        """Fit to the data.

        Args:
            X: examples (N, features), an array or a sparse matrix.
            y: the classes (N,), numbers or strings; or a matrix of labels, 0 or 1, (N, classes).
            sample_weight: how much each example counts, (N,).

        Returns:
            The estimator.

        Raises:
            ValueError: the data or a parameter is invalid, or the training diverged.
        """
        self._fit(X, y, sample_weight)
        return self

    @available_if(_is_stochastic)
    def partial_fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None
    ) -> MLPClassifier:  # fmt: skip
        """Take one pass over the data.

        Args:
            X: examples (N, features), an array or a sparse matrix.
            y: their classes, as for `fit`; not every class has to occur.
            sample_weight: how much each example counts, (N,).
            classes: all classes; needed in the first call.

        Returns:
            The estimator.

        Raises:
            ValueError: the data or a parameter is invalid, or the training diverged.
        """
        self._start_classes(y, classes)
        self._fit(X, y, sample_weight, incremental=True)
        return self


class MLPRegressor(NetworkRegressor, Perceptrons):
    """A multi-layer perceptron that predicts numbers, as `sklearn.neural_network.MLPRegressor`.

    Args:
        loss: "squared_error", half the squared error; or "poisson", half the Poisson deviance, for targets of at
            least 0.
        hidden_layer_sizes: as for `MLPClassifier`, like all that follow; early stopping uses R².
        activation: of the hidden layers.
        solver: "adam", "sgd" or "lbfgs".
        alpha: strength of the penalty.
        batch_size: examples per step.
        learning_rate: the schedule of "sgd".
        learning_rate_init: the initial learning rate.
        power_t: of the schedule "invscaling".
        max_iter: maximum number of passes over the data.
        shuffle: draw a new order of the examples in each pass.
        random_state: a seed or a generator.
        tol: by how much the loss has to improve.
        verbose: print the loss of each pass.
        warm_start: continue `fit` from the weights of the last fit.
        momentum: of "sgd".
        nesterovs_momentum: whether the momentum is Nesterov's.
        early_stopping: stop when R² of examples set aside no longer improves.
        validation_fraction: the fraction of examples set aside.
        beta_1: of "adam".
        beta_2: of "adam".
        epsilon: of "adam".
        n_iter_no_change: number of passes without improvement after which training ends.
        max_fun: for "lbfgs", the maximum number of computations of the loss.

    Attributes are those of scikit-learn's class; see also the bases.
    """

    _rules: ClassVar[dict[str, Rule]] = {**Perceptrons._rules, "loss": one_of("squared_error", "poisson")}

    def __init__(
        self, loss: str = "squared_error", hidden_layer_sizes: int | Sequence[int] = (100,), activation: str = "relu",
        *, solver: str = "adam", alpha: float = 0.0001, batch_size: int | str = "auto", learning_rate: str = "constant",
        learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None, tol: float = 1e-4, verbose: bool = False,
        warm_start: bool = False, momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        n_iter_no_change: float = 10, max_fun: int = 15000,
    ) -> None:  # fmt: skip
        self._store(locals())

    def _output(self) -> Output:
        return EXP if self.loss == "poisson" else IDENTITY

    def _encode(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, NDArray[Any]]:
        X, targets = super()._encode(X, y, incremental, reset)
        if self.loss == "poisson" and targets.min() < 0:
            raise ValueError(f"loss='poisson' takes targets of at least 0, not {targets.min()}")
        return X, targets

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> MLPRegressor:
        """Fit to the data.

        Args:
            X: examples (N, features), an array or a sparse matrix.
            y: the targets (N,) or (N, outputs).
            sample_weight: how much each example counts, (N,).

        Returns:
            The estimator.

        Raises:
            ValueError: the data or a parameter is invalid, or the training diverged.
        """
        self._fit(X, y, sample_weight)
        return self

    @available_if(_is_stochastic)
    def partial_fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> MLPRegressor:
        """Take one pass over the data.

        Args:
            X: examples (N, features), an array or a sparse matrix.
            y: the targets (N,) or (N, outputs).
            sample_weight: how much each example counts, (N,).

        Returns:
            The estimator.

        Raises:
            ValueError: the data or a parameter is invalid, or the training diverged.
        """
        self._fit(X, y, sample_weight, incremental=True)
        return self
