"""scikit-learn's own tests of its perceptrons, read from where it is installed and run on ours."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

sklearn = pytest.importorskip("sklearn", reason="needs scikit-learn: make test-bridges")

FILE = Path(sklearn.__file__).parent / "neural_network" / "tests" / "test_mlp.py"
THEIR_IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
OUR_IMPORT = "from chainrule.sklearn import MLPClassifier, MLPRegressor\n"

NOT_OURS = {
    "test_gradient": "calls the private method _loss_grad_lbfgs with scikit-learn's buffers; test_mlp.py has its own"
}
"""Tests that do not run, and why."""

pytestmark = pytest.mark.filterwarnings("ignore")  # some leave a warning unanswered


@pytest.fixture
def global_random_seed():
    """The fixture of scikit-learn's own conftest.py, with its default."""
    return 42


def read_tests() -> dict[str, object]:
    source = FILE.read_text(encoding="utf-8")
    assert source.count(THEIR_IMPORT) == 1
    names = {"__name__": __name__}
    exec(compile(source.replace(THEIR_IMPORT, OUR_IMPORT), str(FILE), "exec"), names)  # noqa: S102
    return {name: value for name, value in names.items() if name.startswith("test_") and inspect.isfunction(value)}


TESTS = read_tests() if FILE.exists() else {}
for name, test in TESTS.items():
    globals()[name] = pytest.mark.skip(reason=NOT_OURS[name])(test) if name in NOT_OURS else test


def test_they_are_there():
    if not FILE.exists():
        pytest.skip("this installation of scikit-learn has no tests")
    assert len(TESTS) >= 35  # 43 in version 1.9.1
    assert TESTS.keys() >= NOT_OURS.keys()
