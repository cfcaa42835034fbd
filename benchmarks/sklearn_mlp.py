"""Compare chainrule.sklearn with scikit-learn: the time of a fit and the score, on five data sets of scikit-learn.

python benchmarks/sklearn_mlp.py prints three tables: fits in one process, in which the libraries take turns after a
first fit of each; the first fit of a process, with machine code in the cache folder; and the same with an empty cache
folder. `--solver`, `--activation` and `--rounds` change what is measured. Times are wall time; environment variables
such as OMP_NUM_THREADS set the threads of both libraries.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings

import chainrule.sklearn as ours

import numpy as np  # isort: skip  # after chainrule, which configures its BLAS threads
import sklearn
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

DATA = {
    "iris": datasets.load_iris, "wine": datasets.load_wine, "breast_cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes, "digits": datasets.load_digits,
}  # fmt: skip
SMALLEST_AND_LARGEST = ("iris", "digits")
LIBRARIES = {"scikit-learn": neural_network, "chainrule": ours}


def split(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The training and test examples, standardized by the training examples, as are the targets of a regression."""
    x, y = DATA[name](return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)
    scaler = StandardScaler().fit(x_train)
    if name == "diabetes":
        y_train, y_test = ((part - y_train.mean()) / y_train.std() for part in (y_train, y_test))
    return scaler.transform(x_train), scaler.transform(x_test), y_train, y_test


def fit(name: str, library: str, options: dict[str, str]) -> tuple[float, float, int]:
    """The seconds of a fit, the test score, and the number of passes over the data."""
    x_train, x_test, y_train, y_test = split(name)
    kind = "MLPRegressor" if name == "diabetes" else "MLPClassifier"
    estimator = getattr(LIBRARIES[library], kind)(random_state=0, **options)
    start = time.perf_counter()
    estimator.fit(x_train, y_train)
    return time.perf_counter() - start, estimator.score(x_test, y_test), estimator.n_iter_


def warm(name: str, options: dict[str, str], rounds: int) -> None:
    """Print a row of the first table, for which the libraries take turns."""
    first = {library: fit(name, library, options) for library in LIBRARIES}
    times: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    for number in range(rounds):
        for library in list(LIBRARIES)[:: 1 if number % 2 else -1]:
            times[library].append(fit(name, library, options)[0])
    theirs, own = (np.array(times[library]) for library in LIBRARIES)
    scores = "  ".join(f"{first[library][1]:.4f}" for library in LIBRARIES)
    print(
        f"{name:15}{np.median(theirs) * 1e3:12.1f} ms{np.median(own) * 1e3:10.1f} ms{np.median(theirs / own):8.2f}    "
        f"{scores}    {first['chainrule'][2]} passes"
    )


def cold(name: str, library: str, options: dict[str, str], cache: str) -> float:
    """The seconds of a process's first fit, the median of three processes; without `cache`, each gets an empty one."""
    seconds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as empty:
            environment = {**os.environ, "CHAINRULE_CACHE": cache or empty}
            command = [sys.executable, __file__, "--first", name, library, *_flags(options)]
            seconds.append(float(subprocess.run(command, env=environment, capture_output=True, check=True).stdout))
    return float(np.median(seconds))


def _flags(options: dict[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def main() -> None:
    """Parse the arguments and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--solver", default="adam", choices=["adam", "sgd", "lbfgs"])
    parser.add_argument("--activation", default="relu", choices=["relu", "tanh", "logistic", "identity"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--first", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = {"solver": arguments.solver, "activation": arguments.activation}
    warnings.simplefilter("ignore", ConvergenceWarning)
    if arguments.first:
        print(fit(*arguments.first, options)[0])
        return
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}; threads: {threads}; {options}")
    print(f"\n{'later fits':15}{'scikit-learn':>15}{'chainrule':>13}{'ratio':>8}    scores")
    for name in DATA:
        warm(name, options, arguments.rounds)
    for title, cache in (("first fit", tempfile.mkdtemp()), ("empty cache", "")):
        print(f"\n{title:15}{'scikit-learn':>15}{'chainrule':>13}{'ratio':>8}")
        for name in SMALLEST_AND_LARGEST:
            if cache:
                cold(name, "chainrule", options, cache)  # fills the cache folder
            theirs, own = (cold(name, library, options, cache) for library in LIBRARIES)
            print(f"{name:15}{theirs * 1e3:12.1f} ms{own * 1e3:10.1f} ms{theirs / own:8.2f}")


if __name__ == "__main__":
    main()
