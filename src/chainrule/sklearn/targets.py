"""Encodes classes, labels and numbers as targets of a network, and decodes its predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from chainrule.sklearn.fitting import NetworkEstimator
from chainrule.sklearn.outputs import IDENTITY, LOGISTIC, SOFTMAX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.sklearn.outputs import Output

FLOATS = (np.float64, np.float32)
SPARSE_FORMATS = ["csr", "csc"]
"""The formats of sparse matrices that estimators take."""


class NetworkClassifier(ClassifierMixin, NetworkEstimator):
    """The base of classifiers.

    With a softmax, a target is a class index; with logistic outputs, it is 0 or 1 for each output.

    Attributes:
        classes_: the classes, sorted.
    """

    def _encode(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, NDArray[Any]]:
        X, y = validate_data(self, X, y, accept_sparse=SPARSE_FORMATS, multi_output=True, dtype=FLOATS, reset=reset)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_classes(unique_labels(y))
        binary = self._label_binarizer.transform(y)  # (N, classes), or (N, 1) for two classes
        if self._output() is LOGISTIC:
            self.n_outputs_ = binary.shape[1]
            return X, binary.astype(X.dtype)
        self.n_outputs_ = len(self.classes_)
        return X, binary.argmax(1) if binary.shape[1] > 1 else binary.ravel()

    def _check_classes(self, classes: NDArray[Any]) -> None:
        """Check that the classes of a further fit, or of a later `partial_fit`, are those of the first."""
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _validation_score(self, predictions: NDArray[Any], y: NDArray[Any], weight: Any) -> float:
        if len(self.classes_) == 1:  # `predict` returns the only class
            return 1.0
        labels = predictions.argmax(1) if self._output() is SOFTMAX else predictions > 0.5
        return float(accuracy_score(y if y.ndim == 1 else y > 0.5, labels, sample_weight=weight))

    def _start_classes(self, y: Any, classes: Any) -> None:
        """Learn the classes of all calls of `partial_fit` from the first one.

        Raises:
            ValueError: the first call lacks the classes, or a later call has different ones.
        """
        if hasattr(self, "classes_"):
            if classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
                )
            return
        if classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        self.classes_ = unique_labels(classes)
        is_multilabel = type_of_target(y).startswith("multilabel")
        self._label_binarizer = LabelBinarizer().fit(y if is_multilabel else self.classes_)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of each example, (N,), or the matrix of labels, (N, classes).

        Args:
            X: examples (N, features), an array or a sparse matrix.
        """
        check_is_fitted(self)
        predictions: NDArray[Any] = self._predict_outputs(X)
        labels: NDArray[Any] = self._label_binarizer.inverse_transform(
            predictions.ravel() if self.n_outputs_ == 1 else predictions
        )
        return labels

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return the probability of each class, (N, classes), in the order of `classes_`.

        Args:
            X: examples (N, features), an array or a sparse matrix.
        """
        check_is_fitted(self)
        predictions: NDArray[Any] = self._predict_outputs(X)
        is_binary = self.n_outputs_ == 1 and self._output() is LOGISTIC
        if not is_binary:
            return predictions
        probabilities: NDArray[Any] = np.concatenate([1 - predictions, predictions], axis=1)
        return probabilities

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Return the logarithm of `predict_proba`.

        Args:
            X: examples (N, features), an array or a sparse matrix.
        """
        with np.errstate(divide="ignore"):  # the logarithm of 0 is -inf
            logarithms: NDArray[Any] = np.log(self.predict_proba(X))
        return logarithms

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.input_tags.sparse = True
        return tags


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """The base of regressors: one output for each target."""

    def _encode(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, NDArray[Any]]:
        X, y = validate_data(
            self, X, y, accept_sparse=SPARSE_FORMATS, multi_output=True, y_numeric=True, dtype=FLOATS, reset=reset
        )
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        targets: NDArray[Any] = y.reshape(len(y), -1).astype(X.dtype)  # (N, outputs)
        self.n_outputs_ = targets.shape[1]
        return X, targets

    def _output(self) -> Output:
        return IDENTITY

    def _validation_score(self, predictions: NDArray[Any], y: NDArray[Any], weight: Any) -> float:
        return float(r2_score(y, predictions, sample_weight=weight))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the prediction for each example, (N,), or (N, outputs) for several targets.

        Args:
            X: examples (N, features), an array or a sparse matrix.
        """
        check_is_fitted(self)
        predictions: NDArray[Any] = self._predict_outputs(X)
        return predictions.ravel() if predictions.shape[1] == 1 else predictions

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
