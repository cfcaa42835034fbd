"""Each idea on one page of plain NumPy, without the engine.

Read the modules in this order. Each runs as a script and prints a demonstration in a few seconds:

    python -m chainrule.first_principles.perceptron          a neuron that learns AND and OR, and why not XOR
    python -m chainrule.first_principles.activations         nonlinearities, and why a network needs them
    python -m chainrule.first_principles.descent             gradient descent
    python -m chainrule.first_principles.neuron              one neuron learns
    python -m chainrule.first_principles.backprop            two layers, four equations, with their numbers
    python -m chainrule.first_principles.tape                automatic differentiation, one number at a time
    python -m chainrule.first_principles.finite_difference   the same gradient by finite differences, and its cost
    python -m chainrule.first_principles.sgd                 mini-batches
    python -m chainrule.first_principles.network             a network that reads handwritten digits
    python -m chainrule.first_principles.convolution         convolution and pooling
    python -m chainrule.first_principles.language            predicting the next word

The tests compare every gradient here with the engine's, to twelve digits.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from chainrule.console import replace_unencodable

Array = NDArray[np.float64]

# While `python -m` imports this package, before it runs the module, sys.argv begins with "-m"
if sys.argv[:1] == ["-m"]:
    replace_unencodable()
