"""Which machine code may be kept, and for whom."""

import numpy as np
import pytest

from chainrule.kernels import native
from chainrule.kernels.compile import entrance

TEXT = """
import math
import numpy as np
from chainrule.kernels.compile import entrance
from chainrule.kernels.loops.memory import pointer
from chainrule.kernels.loops.program import f8, i8


@entrance
def work(table, task, part, me, shares, team):
    {work}
"""


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "folder", lambda: str(tmp_path))
    return tmp_path


def test_a_program_is_entered_with_whole_numbers(place):
    text = TEXT.format(work="pointer(table, i8)[0] = task + 10 * part + 100 * me + 1000 * shares + 10000 * team")
    for _ in range(2):  # compiled, then found
        table = np.zeros(1, np.int64)
        native.entrance(text)(table.ctypes.data, 1, 2, 3, 4, 5)
        assert table[0] == 54321
    assert len(list(place.glob("*.code"))) == 1


@pytest.mark.parametrize(("work", "alone"), [("math.pow(part, 0.5)", True), ("np.ones(part).sum()", False)])
def test_machine_code_that_calls_numba_is_not_kept(work, alone, place):
    text = TEXT.format(work=f"pointer(table, f8)[0] = {work}")
    for _ in range(2):
        table = np.zeros(1)
        native.entrance(text)(table.ctypes.data, 0, 4, 0, 1, 0)
        assert table[0] == (2 if alone else 4)
    assert len(list(place.glob("*.code"))) == alone


def test_other_settings_of_the_compiler_are_another_place(place, monkeypatch):
    here = native._path("text")
    assert native._path("text") == here != native._path("another text")
    native._machine.cache_clear()
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    assert native._path("text") != here
    native._machine.cache_clear()


def test_a_function_that_cannot_be_compiled_says_so():
    from numba.core.errors import NumbaError

    with pytest.raises(NumbaError):
        entrance(lambda table, task, part, me, shares, team: table.nothing)
