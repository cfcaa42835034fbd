"""Estimators with scikit-learn's interface: in pipelines, grid searches and cross-validation.

    from chainrule.sklearn import MLPClassifier  # needs scikit-learn: pip install 'chainrule[sklearn]'

`MLPClassifier` and `MLPRegressor` have the parameters, defaults and attributes of scikit-learn's estimators of these
names, the same formulas and the same order of examples: a fit arrives at the same weights, up to rounding.
`Classifier(model)` and `Regressor(model)` train any other network. Every step is compiled (`chainrule.jit`).

| file | owns |
| --- | --- |
| `mlp` | `MLPClassifier` and `MLPRegressor` |
| `network` | `Classifier` and `Regressor` |
| `targets` | classes, labels and numbers as targets of a network; predictions as classes, labels and numbers |
| `fitting` | the passes over the data: batches, learning rates, early stopping, L-BFGS |
| `parameters` | the checks of an estimator's parameters |
| `steps` | a network, its loss and its optimizer as one compiled step; the store of steps for later fits |
| `batches` | the memory of batches; predictions in pieces |
| `pickling` | modules with arrays in place of Tensors, for joblib |
| `perceptron`, `outputs`, `optimizers` | the layers, losses and update rules, as scikit-learn defines them |
"""

try:
    import sklearn as sklearn
except ModuleNotFoundError as error:
    if error.name != "sklearn":  # scikit-learn is installed, but broken
        raise
    raise ImportError(
        "chainrule.sklearn needs scikit-learn, which is not installed: pip install 'chainrule[sklearn]'"
    ) from None

from chainrule.sklearn.mlp import MLPClassifier, MLPRegressor
from chainrule.sklearn.network import Classifier, Regressor

__all__ = ["Classifier", "MLPClassifier", "MLPRegressor", "Regressor"]
