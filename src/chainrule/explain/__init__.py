"""What happens inside a trained network, and what decides its answer.

- `layers`: the layers of a network of images, as a person thinks of them, and what their neurons put out.
- `pixels`: which pixels of an image decided: gradients, integrated gradients, occlusion.
- `neurons`: which images excite a neuron most, and which weights connect it.
- `surgery`: the network without some of its neurons, and its accuracy.
- `attention`: which token of a text looks at which.

These functions need no studio; `chainrule.plots` draws what they return. The guide is docs/guides/explain.md.
"""

from chainrule.explain.attention import attention_patterns
from chainrule.explain.layers import Layer, activations, layers
from chainrule.explain.neurons import TopImages, connections, top_images
from chainrule.explain.pixels import gradient_map, integrated_gradients, occlusion_map
from chainrule.explain.surgery import Surgery, silence

__all__ = [
    "Layer",
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
