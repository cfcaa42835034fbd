"""Every idea on one page of NumPy: nothing of the engine underneath, so that nothing is hidden.

Read them in this order; each can be run, and shows itself in a few seconds:

    python -m chainrule.first_principles.perceptron          a neuron that learns AND and OR, and why not XOR
    python -m chainrule.first_principles.activations         the bends that make a network more than one line
    python -m chainrule.first_principles.descent             rolling downhill
    python -m chainrule.first_principles.neuron              one neuron learns
    python -m chainrule.first_principles.backprop            two layers, four equations, with their numbers
    python -m chainrule.first_principles.finite_difference   the same gradient by trying, and what that costs
    python -m chainrule.first_principles.sgd                 learning from a few examples at a time
    python -m chainrule.first_principles.network             a network that reads handwritten digits
    python -m chainrule.first_principles.convolution         looking through a small window
    python -m chainrule.first_principles.language            guessing the next word

The tests hold every gradient here to the engine's, to twelve digits.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from chainrule.console import replace_unencodable

Array = NDArray[np.float64]

if sys.argv[:1] == ["-m"]:  # as Python has it while it imports the package of a page that is run, which will print
    replace_unencodable()
