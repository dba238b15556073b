"""The explainers: each maps (model, image, target) to a relevance map [H, W].

The functions are imported here at once, so that `labkit.explain.gradcam` is the function and not
the module of the same name.
"""

from labkit.explain.gradcam import gradcam
from labkit.explain.gradients import (
    gradient_times_input,
    input_gradient,
    integrated_gradients,
    saliency,
    sensitivity,
    smoothgrad,
)

__all__ = [
    "gradcam",
    "gradient_times_input",
    "input_gradient",
    "integrated_gradients",
    "saliency",
    "sensitivity",
    "smoothgrad",
]
