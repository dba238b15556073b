"""The explainers: each maps (model, image, target) to a relevance map [H, W].

The functions are imported here at once, so that `labkit.explain.gradcam` is the function and not
the module of the same name.
"""

from labkit.explain.gradcam import gradcam
from labkit.explain.gradients import input_gradient, saliency, sensitivity

__all__ = ["gradcam", "input_gradient", "saliency", "sensitivity"]
