"""Machine code when several threads, or a forked process, ask for it at the same time."""

import os
import subprocess
import sys

import numpy as np
import pytest

from chainrule.kernels import machine
from chainrule.kernels.calling import stage_kernel
from chainrule.kernels.tree import I8

from ..threads import call_in_two_threads


def storing(number):
    """A kernel that stores a number in its table."""
    kernel = stage_kernel(f"store_{number}")
    kernel.array("table", I8)[0] = number
    kernel.return_(None)
    return kernel


def stored(address):
    """The number that a kernel of `storing` stores."""
    table = np.zeros(1, np.int64)
    machine.function(address)(table.ctypes.data, 0, 0, 0, 0, 0)
    return table[0]


@pytest.fixture
def uncached(monkeypatch):
    """No kernel is on disk, and those that the test compiles are forgotten afterwards."""
    monkeypatch.setattr(machine, "_addresses", dict(machine._addresses))
    monkeypatch.setattr(machine, "_read", lambda digest, identity: None)
    monkeypatch.setattr(machine, "_write", lambda digest, identity, name, code: None)


def test_two_threads_compile_a_kernel_once(uncached):
    builds = []

    def compile_kernel(in_the_middle):
        def build():
            builds.append(1)
            in_the_middle()
            return storing(7)

        return machine.address_of("a kernel of test_machine", build)

    first, second = call_in_two_threads(compile_kernel)
    assert len(builds) == 1
    assert first == second
    assert stored(first) == 7


def test_one_thread_builds_kernels_at_a_time(uncached):
    """Two threads that fill the caches of kernels' parts at once would put different copies into one module."""
    events, numbers = [], iter((1, 2))

    def compile_kernel(in_the_middle):
        number = next(numbers)

        def build():
            events.append(f"begin {number}")
            in_the_middle()
            events.append(f"end {number}")
            return storing(number)

        return machine.address_of(f"kernel {number} of test_machine", build)

    assert list(map(stored, call_in_two_threads(compile_kernel))) == [1, 2]
    assert events == ["begin 1", "end 1", "begin 2", "end 2"]


FORKED = """
import os, sys, threading, time
from chainrule.kernels import driver, machine, team_loops

is_building = threading.Event()

def build_slowly():
    is_building.set()
    time.sleep(0.5)
    return team_loops.control()

thread = threading.Thread(target=lambda: machine.address_of("team", build_slowly))
thread.start()
is_building.wait()
child = os.fork()
machine.address_of("driver", driver.driver)
if child == 0:
    os._exit(0)
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_that_is_forked_while_a_thread_compiles_can_compile(tmp_path):
    environment = {**os.environ, "CHAINRULE_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], env=environment, timeout=60, check=False)
    assert done.returncode == 0


INTERRUPTED_LINK = """
from chainrule.kernels import machine, team_loops

binding = machine.llvm_binding()
add_object_file = binding.ExecutionEngine.add_object_file

def interrupt(engine, object_file):
    raise KeyboardInterrupt

for _ in range(5):
    binding.ExecutionEngine.add_object_file = interrupt
    try:
        machine.address_of("team", team_loops.control)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError
    machine._compile(team_loops.control())
binding.ExecutionEngine.add_object_file = add_object_file
assert machine.address_of("team", team_loops.control)
"""


def test_kernels_compile_after_an_interrupt_while_one_was_linked(tmp_path):
    environment = {**os.environ, "CHAINRULE_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_LINK], env=environment, timeout=60, check=False)
    assert done.returncode == 0
