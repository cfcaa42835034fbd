"""Explains a trained network: what happens inside, and what decides its answer.

- `layers`: the layers of a network of images, and the outputs of their neurons.
- `pixels`: which pixels of an image decided: gradients, integrated gradients, occlusion.
- `neurons`: which images excite a neuron most, and which weights connect it.
- `surgery`: the accuracy of a network without some of its neurons.
- `attention`: which token of a text attends to which.
- `backpropagation`: the four equations of backpropagation, with a network's numbers for one example.
- `terms`: the sums in these equations, for each kind of layer.
- `recording`: the operations of a forward pass, with their values and gradients.

These functions need no studio; `chainrule.plots` draws what they return. The guide is docs/guides/explain.md.
"""

from chainrule.explain.attention import attention_patterns
from chainrule.explain.backpropagation import (
    Backpropagation,
    ErrorEquation,
    ErrorPath,
    FiniteDifference,
    GradientEquation,
    LayerPass,
    PathStep,
)
from chainrule.explain.layers import Layer, activations, layers
from chainrule.explain.neurons import TopImages, connections, top_images
from chainrule.explain.pixels import gradient_map, integrated_gradients, occlusion_map
from chainrule.explain.recording import RecordedOperation
from chainrule.explain.surgery import Surgery, silence
from chainrule.explain.terms import Factors

__all__ = [
    "Backpropagation",
    "ErrorEquation",
    "ErrorPath",
    "Factors",
    "FiniteDifference",
    "GradientEquation",
    "Layer",
    "LayerPass",
    "PathStep",
    "RecordedOperation",
    "Surgery",
    "TopImages",
    "activations",
    "attention_patterns",
    "connections",
    "gradient_map",
    "integrated_gradients",
    "layers",
    "occlusion_map",
    "silence",
    "top_images",
]
