"""The playground: two-dimensional points, a small network built by clicking, and its training, step by step.

- `setup`: the settings, from the page's state; what can be chosen. `choices`: as the page offers it.
- `points`: a person's own points, in the address or from a CSV file.
- `run`: the data, the network and its training; the same settings give the same bits.
- `stop`, `faults`: when a run stops by itself, and where its numbers broke.
- `frame`: what a run shows, as bytes.
- `script`: the same run as Python code.
- `view`: answers the page.
"""

from chainrule.studio.playground.view import Playground

__all__ = ["Playground"]
