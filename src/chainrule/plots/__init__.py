"""Figures: arrays in, a matplotlib `Figure` out (or, in `text`, lines of characters for the terminal).

    from chainrule import plots

    figure = plots.descent_on_curve(path, parabola)
    plots.save(figure, "rolling.png")

Every function accepts arrays, Tensors or lists, and draws on a light background, or with `dark=True` on a dark one. The
modules:

    training      loss and accuracy curves
    charts        lines, functions; gradients by layer and by step, dead neurons, step errors, next words
    descent       gradient descent on a curve, a contour plot, a surface
    points        decision boundaries; a hidden layer projected to two dimensions
    explanations  which pixels decided, the images that excite a neuron, attention patterns
    inside        network diagrams, activations, weights as images, filters, feature maps
    evaluation    confusion matrix, worst mistakes, calibration
    graph         the computation graph of a result
    graph_text    the same as text, or laid out by Graphviz: `chainrule.draw`
    grids         small arrays with their numbers: attention weights, a convolution by hand
    pictures      image preprocessing, step by step
    flow          boxes and arrows: numbers flow forward, slopes flow back; step by step
    sweeps        the trials of a search for settings
    animation     `animate_decision_boundary`, `animate_descent`; GIFs: `save_decision_boundary`, `save_descent`,
                  `save_training`, `save_weights`

`style` holds the shared theme and saves figures. These modules import matplotlib, so each is imported on first use of
one of its names. `text` and `graph_text` need no matplotlib.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule.plots.animation import (
        animate_decision_boundary,
        animate_descent,
        save_decision_boundary,
        save_descent,
        save_training,
        save_weights,
    )
    from chainrule.plots.charts import (
        dead_neurons,
        functions,
        gradients_by_layer,
        gradients_by_step,
        lines,
        step_errors,
        word_probabilities,
    )
    from chainrule.plots.descent import descent_on_contour, descent_on_curve, descent_on_surface
    from chainrule.plots.evaluation import calibration, confusion_matrix, mistakes, predictions
    from chainrule.plots.explanations import attention_patterns, pixel_maps, top_images
    from chainrule.plots.flow import animate_flow, flow_diagram, network_frame
    from chainrule.plots.graph import computation_graph
    from chainrule.plots.grids import number_grids
    from chainrule.plots.inside import activations, feature_maps, filters, network_diagram, weight_images
    from chainrule.plots.pictures import stages
    from chainrule.plots.points import decision_boundary, hidden_map, principal_components
    from chainrule.plots.style import save
    from chainrule.plots.sweeps import sweep
    from chainrule.plots.training import curves

_MODULES = {
    "animation": (
        "animate_decision_boundary", "animate_descent", "save_decision_boundary", "save_descent", "save_training",
        "save_weights",
    ),
    "charts": (
        "dead_neurons", "functions", "gradients_by_layer", "gradients_by_step", "lines", "step_errors",
        "word_probabilities",
    ),
    "descent": ("descent_on_contour", "descent_on_curve", "descent_on_surface"),
    "evaluation": ("calibration", "confusion_matrix", "mistakes", "predictions"),
    "explanations": ("attention_patterns", "pixel_maps", "top_images"),
    "flow": ("animate_flow", "flow_diagram", "network_frame"),
    "graph": ("computation_graph",),
    "grids": ("number_grids",),
    "inside": ("activations", "feature_maps", "filters", "network_diagram", "weight_images"),
    "pictures": ("stages",),
    "points": ("decision_boundary", "hidden_map", "principal_components"),
    "style": ("save",),
    "sweeps": ("sweep",),
    "training": ("curves",),
}  # fmt: skip

if not TYPE_CHECKING:  # with `__getattr__`, type checkers would accept any misspelled name

    def __getattr__(name: str) -> Any:
        for module, names in _MODULES.items():
            if name in names:
                return getattr(importlib.import_module(f"chainrule.plots.{module}"), name)
        raise AttributeError(f"module 'chainrule.plots' has no attribute {name!r}")


__all__ = [
    "activations", "animate_decision_boundary", "animate_descent", "animate_flow", "attention_patterns", "calibration",
    "computation_graph",
    "confusion_matrix", "curves", "dead_neurons", "decision_boundary", "descent_on_contour", "descent_on_curve",
    "descent_on_surface", "feature_maps", "filters", "flow_diagram", "functions", "gradients_by_layer",
    "gradients_by_step", "hidden_map", "lines", "mistakes", "network_diagram", "network_frame", "number_grids",
    "pixel_maps", "predictions", "principal_components", "save", "save_decision_boundary", "save_descent",
    "save_training", "save_weights", "stages", "step_errors", "sweep", "top_images", "weight_images",
    "word_probabilities",
]  # fmt: skip
