"""The playground: two-dimensional points, a small network built by clicking, and its training, step by step.

- `setup`: reads the settings from the page's state, and lists the values to choose from.
- `choices`: these values with the titles that the page shows.
- `points`: a person's own points, in the address or from a CSV file.
- `run`: the data, the network and its training; the same settings give bitwise identical results.
- `stop`, `faults`: when a run stops by itself, and where a number first became infinite or NaN.
- `frame`: what the page shows of a run, as bytes.
- `script`: the same run as Python code.
- `view`: answers the page.
"""

from chainrule.studio.playground.view import Playground

__all__ = ["Playground"]
