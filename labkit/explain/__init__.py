"""The explainers: each maps (model, image, target) to a relevance map [H, W].

The functions are imported here at once, so that `labkit.explain.gradcam` is the function and not
the module of the same name.
"""

from labkit.explain.biased import BiasedLayer, biased
from labkit.explain.fem import fem
from labkit.explain.gradcam import gradcam
from labkit.explain.gradients import (
    gradient_times_input,
    input_gradient,
    integrated_gradients,
    saliency,
    sensitivity,
    smoothgrad,
)
from labkit.explain.hirescam import hirescam
from labkit.explain.lime import lime, lime_samples, segment
from labkit.explain.many import many
from labkit.explain.occlusion import occlusion
from labkit.explain.perturbation import (
    Perturbation,
    PerturbationGenerator,
    centers,
    learn_mask,
    learn_perturbation,
    perturbation_map,
    perturbation_steps,
)
from labkit.explain.rise import rise, rise_all, rise_steps

__all__ = [
    "BiasedLayer",
    "Perturbation",
    "PerturbationGenerator",
    "biased",
    "centers",
    "fem",
    "gradcam",
    "gradient_times_input",
    "hirescam",
    "input_gradient",
    "integrated_gradients",
    "learn_mask",
    "learn_perturbation",
    "lime",
    "lime_samples",
    "many",
    "occlusion",
    "perturbation_map",
    "perturbation_steps",
    "rise",
    "rise_all",
    "rise_steps",
    "saliency",
    "segment",
    "sensitivity",
    "smoothgrad",
]
