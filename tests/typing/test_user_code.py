"""The code that type checkers are shown does run."""

import pytest
from tests.typing import user_code

FUNCTIONS = ("tensors arithmetic operations functional modules derivatives training_loop training_package").split()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_runs(name):
    getattr(user_code, name)()


def test_files(tmp_path):
    user_code.files(tmp_path)
