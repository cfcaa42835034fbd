"""Trained networks as source code that runs without chainrule: a Python file that needs NumPy, or a C header.

A network is called once with symbols (`trace`), which record the NumPy functions that its operations consist of
(`graph`). `numpy_file` prints these as Python. `c_loops` turns them into loops (`c_tree`), which `c_file` prints as C.
An operation that cannot be written is refused; the message names it.
"""

from chainrule.source.c_file import c_name, write_c
from chainrule.source.graph import Graph, SourceError
from chainrule.source.numpy_file import write_numpy
from chainrule.source.trace import record

__all__ = ["Graph", "SourceError", "c_name", "record", "write_c", "write_numpy"]
