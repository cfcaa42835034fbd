"""The base of all estimators: passes over the data, learning rates, early stopping and L-BFGS.

The order of examples, the split for early stopping and the rules for stopping are scikit-learn's, so the same
`random_state` leads to the same weights, up to rounding.
"""

from __future__ import annotations

import sys
import warnings
from abc import abstractmethod
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.optimize
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array

from chainrule.autograd import no_grad
from chainrule.sklearn.batches import Batches, chunks
from chainrule.sklearn.parameters import check_parameters
from chainrule.sklearn.steps import OptimizerState
from chainrule.tensor import from_numpy
from chainrule.training.modes import restore_modes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from chainrule.nn import Module
    from chainrule.sklearn.outputs import Output
    from chainrule.sklearn.parameters import Rule
    from chainrule.sklearn.steps import Step

SMALLEST_RATE = 1e-6
"""The learning rate of the schedule "adaptive" at which training stops."""


class NetworkEstimator(BaseEstimator):
    """The base of all estimators.

    Subclasses define how targets are encoded (`targets`) and which network is trained (`mlp`, `network`).

    Attributes:
        n_iter_: passes over the data in the last fit, or iterations of L-BFGS.
        t_: number of examples in all passes.
        loss_: the loss of the last pass.
        loss_curve_: the loss of each pass.
        best_loss_: the smallest loss of a pass; None with early stopping.
        validation_scores_: accuracy, or R², after each pass, on the examples set aside; None without early stopping.
        best_validation_score_: the best validation score; None without early stopping.
        n_outputs_: number of scores that the network computes.
        out_activation_: the activation that turns scores into predictions.
    """

    _rules: ClassVar[dict[str, Rule]] = {}
    _optimizer: OptimizerState

    def _store(self, arguments: dict[str, Any]) -> None:
        """Store the constructor's arguments unchanged, as scikit-learn expects; `arguments` is its `locals()`."""
        for name in self._get_param_names():
            setattr(self, name, arguments[name])

    @abstractmethod
    def _encode(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, NDArray[Any]]:
        """Check the data, and return the examples, and the targets in the form that the loss takes."""

    @abstractmethod
    def _output(self) -> Output:
        """Return how the network's scores become losses and predictions."""

    @abstractmethod
    def _validation_score(self, predictions: NDArray[Any], y: NDArray[Any], weight: Any) -> float:
        """Return accuracy or R² of predictions (N, outputs) for encoded targets."""

    @abstractmethod
    def _create(self, n_features: int, dtype: Any) -> None:
        """Create the network, with `self._random_state`."""

    @abstractmethod
    def _has_network(self) -> bool:
        """Return whether there is a network whose training can continue."""

    @abstractmethod
    def _borrow_step(self) -> AbstractContextManager[Step]:
        """Lend a step that holds the weights of the network."""

    @abstractmethod
    def _keep(self, step: Step) -> None:
        """Store the weights of a step."""

    @abstractmethod
    def _input_shape(self) -> Sequence[int]:
        """Return the shape of one example for the network."""

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False) -> Any:
        """Fit to the data, or take one pass over them if `incremental`."""
        check_parameters(self, **self._rules)
        is_first = not self._has_network() or not (self.warm_start or incremental)
        X, y = self._encode(X, y, incremental, reset=is_first)
        weight = self._check_weight(sample_weight, X)
        self._random_state = check_random_state(self.random_state)
        if is_first:
            self.out_activation_ = self._output().name
            self._reset_history()
            self._create(X.shape[1], X.dtype)
        with self._borrow_step() as step:
            if self.solver == "lbfgs":
                self._minimize(step, X, y, weight)
            else:
                self._train(step, X, y, weight, incremental)
            is_finite = all(np.isfinite(array).all() for array in step.arrays())
            self._keep(step)
        if not is_finite:
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        return self

    def _check_weight(self, sample_weight: Any, X: Any) -> NDArray[Any] | None:
        """Return the weights of the examples (N,), or None.

        Raises:
            ValueError: there is not one weight for each example, one is negative, or all are 0.
        """
        if sample_weight is None:
            return None
        if isinstance(sample_weight, Real):
            sample_weight = np.full(X.shape[0], sample_weight)
        weight: NDArray[Any] = check_array(
            sample_weight, ensure_2d=False, dtype=(np.float64, np.float32), input_name="sample_weight"
        )
        if weight.shape != (X.shape[0],):
            raise ValueError(f"sample_weight has shape {weight.shape}, but there are {X.shape[0]} examples")
        if weight.min() < 0:
            raise ValueError(f"a sample_weight must not be negative, but one is {weight.min()}")
        if weight.max() == 0:
            raise ValueError("every sample_weight is zero: there is nothing to fit")
        return weight

    def _reset_history(self) -> None:
        self.n_iter_ = self.t_ = self._no_improvement_count = 0
        if self.solver == "lbfgs":
            return
        self.loss_curve_: list[float] = []
        self.best_loss_: Any = None if self.early_stopping else np.inf
        self.validation_scores_: Any = [] if self.early_stopping else None
        self.best_validation_score_: Any = -np.inf if self.early_stopping else None

    def _batches(self, x: Any, y: NDArray[Any], weight: Any, batch_size: int, step: Step) -> Batches:
        return Batches(
            x.tocsr() if sparse.issparse(x) else x, y, weight,
            batch_size=batch_size, alpha=self.alpha, shape=self._input_shape(), dtype=step.parameters[0].dtype,
        )  # fmt: skip

    def _optimizer_options(self) -> dict[str, Any]:
        """Return the optimizer's options, without the learning rate, by chainrule's names."""
        if self.solver == "sgd":
            return {"momentum": self.momentum, "nesterov": self.nesterovs_momentum}
        return {"betas": (self.beta_1, self.beta_2), "eps": self.epsilon}

    def _train(self, step: Step, x: Any, y: NDArray[Any], weight: Any, incremental: bool) -> None:
        """Train until the loss, or the validation score, no longer improves, for at most `max_iter` passes."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if not incremental or not hasattr(self, "_optimizer") or self._optimizer.solver != self.solver:
            self._optimizer = OptimizerState(self.solver, self.learning_rate_init)
        step.start(self._optimizer_options(), self._optimizer)
        validation = None
        if self.early_stopping:
            x, y, weight, validation = self._split(x, y, weight)
        count = x.shape[0]
        batches = self._batches(x, y, weight, self._clip_batch_size(count), step)
        order = np.arange(count)
        best = [array.copy() for array in step.arrays()]
        self.n_iter_ = 0
        try:
            for _ in range(self.max_iter):
                if self.shuffle:
                    permutation = np.arange(count)
                    self._random_state.shuffle(permutation)
                    order = order[permutation]
                total = 0.0
                for size, arguments in batches.one_pass(order):
                    total += step.train(*arguments).item() * size
                self.n_iter_ += 1
                self.t_ += count
                self.loss_ = total / count
                self.loss_curve_.append(self.loss_)
                self._report(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                if validation is None:
                    self._compare_loss()
                elif self._compare_score(step, *validation):
                    best = [array.copy() for array in step.arrays()]
                if self._update_learning_rate(step) or incremental:
                    break
                if self.n_iter_ == self.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                        f"hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=4,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        if validation is not None:
            step.write(best)
        self._optimizer.learning_rate = step.options["lr"]
        self._optimizer.entries = step.state() if incremental else []

    def _clip_batch_size(self, count: int) -> int:
        if self.batch_size == "auto":
            return min(200, count)
        if self.batch_size > count:
            warnings.warn(
                f"batch_size={self.batch_size} is larger than the {count} examples and is clipped", stacklevel=5
            )
        return int(min(self.batch_size, count))

    def _split(self, x: Any, y: NDArray[Any], weight: Any) -> tuple[Any, Any, Any, tuple[Any, Any, Any]]:
        """Set examples aside for early stopping.

        Returns:
            Examples, targets and weights for training, and a tuple of the same for validation; a weight may be None.
        """
        is_binary = self.out_activation_ == "logistic" and self.n_outputs_ == 1
        arrays = [x, y] if weight is None else [x, y, weight]
        parts = train_test_split(
            *arrays,
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=y.astype(bool) if is_binary else None,
        )
        train, validation = parts[::2], parts[1::2]
        if validation[0].shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        no_weight = [None] * (3 - len(arrays))
        return (*train, *no_weight, (*validation, *no_weight))

    def _compare_loss(self) -> None:
        """Count the consecutive passes in which the loss did not improve by `tol`."""
        is_worse = self.loss_ > self.best_loss_ - self.tol
        self._no_improvement_count = self._no_improvement_count + 1 if is_worse else 0
        self.best_loss_ = min(self.best_loss_, self.loss_)  # stays as it is if the loss is NaN

    def _compare_score(self, step: Step, x: Any, y: NDArray[Any], weight: Any) -> bool:
        """Count the consecutive passes without an improvement by `tol`; return whether the score is the best."""
        predictions = self._compute(step.network, x, step.parameters[0].dtype)
        score = self._validation_score(predictions, y, weight) if np.isfinite(predictions).all() else float("nan")
        self.validation_scores_.append(score)
        self._report(f"Validation score: {score:f}")
        is_worse = score < self.best_validation_score_ + self.tol
        self._no_improvement_count = self._no_improvement_count + 1 if is_worse else 0
        is_best = bool(score > self.best_validation_score_)
        if is_best:
            self.best_validation_score_ = score
        return is_best

    def _update_learning_rate(self, step: Step) -> bool:
        """Set the learning rate of the next pass; return whether training is to stop."""
        schedule = self.learning_rate if self.solver == "sgd" else "constant"
        if schedule == "invscaling":
            step.options["lr"] = self.learning_rate_init / (self.t_ + 1) ** self.power_t
        if self._no_improvement_count <= self.n_iter_no_change:
            return False
        measure = "Validation score" if self.early_stopping else "Training loss"
        message = (
            f"{measure} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        )
        if schedule != "adaptive":
            self._report(f"{message} Stopping.")
            return True
        if step.options["lr"] <= SMALLEST_RATE:
            self._report(f"{message} Learning rate too small. Stopping.")
            return True
        step.options["lr"] /= 5
        self._report(f"{message} Setting learning rate to {step.options['lr']:f}")
        self._no_improvement_count = 0
        return False

    def _minimize(self, step: Step, x: Any, y: NDArray[Any], weight: Any) -> None:
        """Minimize the loss of all examples with L-BFGS."""
        batches = self._batches(x, y, weight, x.shape[0], step)
        ((_, arguments),) = batches.one_pass(np.arange(x.shape[0]))
        arrays = [parameter._data for parameter in step.parameters]
        ends = np.cumsum([array.size for array in arrays])[:-1]
        reported = 0.0

        def loss_and_gradient(point: NDArray[Any]) -> tuple[float, NDArray[Any]]:
            nonlocal reported
            for array, values in zip(arrays, np.split(point, ends), strict=True):
                array[...] = values.reshape(array.shape)
            loss, reported_loss, *gradients = step.gradients(*arguments)
            reported = reported_loss.item()
            return loss.item(), np.concatenate([gradient.numpy().ravel() for gradient in gradients]).astype(float)

        result = scipy.optimize.minimize(
            loss_and_gradient,
            np.concatenate([array.ravel() for array in arrays]).astype(float),
            method="L-BFGS-B",
            jac=True,
            options={"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
        )
        loss_and_gradient(result.x)
        self.n_iter_, self.loss_ = min(result.nit, self.max_iter), reported
        self._report(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        if result.status:
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) (status={result.status}): "
                f"{result.message}. Increase max_iter or max_fun, or scale the data.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _report(self, line: str) -> None:
        if self.verbose:
            sys.stdout.write(f"{line}\n")

    def _compute(self, network: Module, x: Any, dtype: Any) -> NDArray[Any]:
        """Compute the predictions (N, outputs) of a network in eval mode, in chunks."""
        predict = self._output().predict
        widest = max((max(parameter.shape, default=1) for parameter in network.parameters()), default=1)
        examples = x.tocsr() if sparse.issparse(x) else x
        with restore_modes(network), no_grad():
            network.eval()
            pieces = chunks(examples, self._input_shape(), widest, dtype)
            return np.concatenate([predict(network(from_numpy(piece))).numpy() for piece in pieces])
