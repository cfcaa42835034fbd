"""`Classifier` and `Regressor`: any network as an estimator."""

from __future__ import annotations

import copy
import inspect
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from chainrule import models
from chainrule.autograd import no_grad
from chainrule.errors import UserError, type_name
from chainrule.nn import Module
from chainrule.nn.functional import cross_entropy
from chainrule.random import default_generator
from chainrule.sklearn.fitting import NetworkEstimator
from chainrule.sklearn.optimizers import KINDS
from chainrule.sklearn.outputs import LOGISTIC, SOFTMAX
from chainrule.sklearn.parameters import Rule, one_of
from chainrule.sklearn.pickling import from_arrays, to_arrays
from chainrule.sklearn.steps import Step
from chainrule.sklearn.targets import SPARSE_FORMATS, NetworkClassifier, NetworkRegressor
from chainrule.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from chainrule.sklearn.outputs import Output


def _is_shape(value: Any) -> bool:
    return value is None or (isinstance(value, (tuple, list)) and all(type(n) is int and n > 0 for n in value))


class NetworkModel(NetworkEstimator):
    """The part that both estimators share: a network that is built from `model` and trained in place.

    Attributes:
        network_: the trained network.
    """

    _rules: ClassVar[dict[str, Rule]] = {
        "input_shape": Rule(_is_shape, "a tuple of sizes, or None"),
        "solver": one_of("sgd", "adam"),
    }

    def _input_shape(self) -> Sequence[int]:
        shape = (self.n_features_in_,) if self.input_shape is None else tuple(self.input_shape)
        if math.prod(shape) != self.n_features_in_:
            raise ValueError(
                f"input_shape={self.input_shape} has {math.prod(shape)} numbers, but an example has "
                f"{self.n_features_in_}"
            )
        return shape

    def _has_network(self) -> bool:
        return hasattr(self, "network_")

    def _create(self, n_features: int, dtype: Any) -> None:
        shape = self._input_shape()
        seed = self._random_state.randint(np.iinfo(np.int32).max)
        sizes = {"inputs": n_features, "outputs": self.n_outputs_, "classes": self.n_outputs_}
        network = _build(self.model, {**sizes, "generator": np.random.default_rng(seed)})
        self._step: Step | None = None
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        if not parameters:
            raise ValueError("the model has no parameters to train")
        with no_grad():
            scores = network.eval()(from_numpy(np.zeros((2, *shape), parameters[0].dtype)))
        if not isinstance(scores, Tensor) or scores.shape != (2, self.n_outputs_):
            actual = scores.shape if isinstance(scores, Tensor) else type_name(scores)
            raise ValueError(
                f"the model must return scores of shape {(2, self.n_outputs_)} for 2 examples of shape {shape}, "
                f"not {actual}"
            )
        self.network_ = network.train()

    @contextmanager
    def _borrow_step(self) -> Iterator[Step]:
        kind = KINDS[self.solver]
        if self._step is None or not isinstance(self._step.optimizer, kind):
            parameters = [parameter for parameter in self.network_.parameters() if parameter.requires_grad]
            penalized = [parameter for parameter in parameters if parameter.ndim > 1]
            self._step = Step(self.network_, self._output(), kind(parameters), penalized)
        generator = default_generator().bit_generator  # used by dropout, for example
        state = generator.state
        seed = check_random_state(self._random_state).randint(np.iinfo(np.int32).max)
        generator.state = np.random.default_rng(seed).bit_generator.state
        try:
            yield self._step
        finally:
            generator.state = state

    def _keep(self, step: Step) -> None:
        """Do nothing: the network was trained in place."""

    def _predict_outputs(self, X: Any) -> NDArray[Any]:
        """Return predictions (N, outputs)."""
        X = validate_data(self, X, accept_sparse=SPARSE_FORMATS, reset=False)
        return self._compute(self.network_, X, next(iter(self.network_.parameters())).dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, with arrays in place of Tensors; the compiled step is left out."""
        state = {**super().__getstate__(), "_step": None}
        return {name: to_arrays(value) if isinstance(value, Module) else value for name, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the attributes."""
        super().__setstate__(
            {name: from_arrays(value) if isinstance(value, Module) else value for name, value in state.items()}
        )


def _build(model: Any, arguments: dict[str, Any]) -> Module:
    """Build a network, or copy it if it is one.

    Args:
        model: the name of a registered model, a function that returns a network, or a network.
        arguments: by name; a function receives those that it has parameters for.

    Raises:
        ValueError: there is no such model, or it is not a model of images with cross entropy.
        TypeError: the model is none of these, or the function does not return a network.
    """
    if isinstance(model, Module):
        return copy.deepcopy(model)
    if isinstance(model, str):
        try:
            registered = models.get(model)
            if registered.task != "images" or registered.loss is not cross_entropy:
                raise ValueError(f"model {model!r} has a loss of its own, or reads texts: pass a function or a network")
            options = {name: int(arguments[name]) for name in ("inputs", "classes")}
            return models.build(model, options, generator=arguments["generator"])
        except UserError as error:
            raise ValueError(str(error)) from None
    if not callable(model):
        raise TypeError(f"model must be a network, a function that returns one, or a name, not {type_name(model)}")
    parameters = inspect.signature(model).parameters
    network = model(**{name: value for name, value in arguments.items() if name in parameters})
    if not isinstance(network, Module):
        raise TypeError(f"model must return a network, not {type_name(network)}")
    return network


class Classifier(NetworkClassifier, NetworkModel):
    """Any network as a classifier, with a score for each class even if there are two; trained with cross entropy.

    For a matrix of labels, the loss is the logistic loss of each label.

    Args:
        model: the network: a function that builds it, called with those of the arguments `inputs`, `outputs` (or
            `classes`) and `generator` that it has; the name of a registered model, such as "mlp"; or a module, which is
            copied. It maps examples (N, *input_shape) to scores (N, classes), without a softmax.
        input_shape: the shape of one example for the network, such as (1, 28, 28); by default (features,).
        solver: "adam" or "sgd".
        alpha: strength of the penalty on all parameters of two or more dimensions.
        batch_size: as for `MLPClassifier`, like all that follow.
        learning_rate: the schedule of "sgd".
        learning_rate_init: the initial learning rate.
        power_t: of the schedule "invscaling".
        max_iter: maximum number of passes over the data.
        shuffle: draw a new order of the examples in each pass.
        random_state: a seed or a generator, for initial weights, order and dropout.
        tol: by how much the loss has to improve.
        verbose: print the loss of each pass.
        warm_start: continue `fit` from the weights of the last fit.
        momentum: of "sgd".
        nesterovs_momentum: whether the momentum is Nesterov's.
        early_stopping: stop when the accuracy on examples set aside no longer improves.
        validation_fraction: the fraction of examples set aside.
        beta_1: of "adam".
        beta_2: of "adam".
        epsilon: of "adam".
        n_iter_no_change: number of passes without improvement after which training ends.

    Attributes are those of `MLPClassifier`, with `network_` in place of the layers.
    """

    def __init__(
        self, model: Module | str | Callable[..., Module], *, input_shape: Sequence[int] | None = None,
        solver: str = "adam", alpha: float = 0.0001, batch_size: int | str = "auto", learning_rate: str = "constant",
        learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None, tol: float = 1e-4, verbose: bool = False,
        warm_start: bool = False, momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
    ) -> None:  # fmt: skip
        self._store(locals())

    def _output(self) -> Output:
        return LOGISTIC if self._label_binarizer.y_type_.startswith("multilabel") else SOFTMAX

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Classifier:
        """Fit to the data, as `MLPClassifier.fit`."""
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None
    ) -> Classifier:  # fmt: skip
        """Take one pass over the data, as `MLPClassifier.partial_fit`."""
        self._start_classes(y, classes)
        self._fit(X, y, sample_weight, incremental=True)
        return self


class Regressor(NetworkRegressor, NetworkModel):
    """Any network as a regressor, trained with half the squared error.

    Args:
        model: the network, as for `Classifier`; it maps examples to predictions (N, targets).
        input_shape: the shape of one example for the network; by default (features,).
        solver: as for `Classifier`, like all that follow; early stopping uses R².
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

    Attributes are those of `MLPRegressor`, with `network_` in place of the layers.
    """

    def __init__(
        self, model: Module | str | Callable[..., Module], *, input_shape: Sequence[int] | None = None,
        solver: str = "adam", alpha: float = 0.0001, batch_size: int | str = "auto", learning_rate: str = "constant",
        learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None, tol: float = 1e-4, verbose: bool = False,
        warm_start: bool = False, momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
    ) -> None:  # fmt: skip
        self._store(locals())

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Regressor:
        """Fit to the data, as `MLPRegressor.fit`."""
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Regressor:
        """Take one pass over the data, as `MLPRegressor.partial_fit`."""
        self._fit(X, y, sample_weight, incremental=True)
        return self
