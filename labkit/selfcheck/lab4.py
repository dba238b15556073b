"""Lab 4: class activation maps, Grad-CAM and FEM, from feature maps of a few places."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.engine.hooks import upsample as enlarged
from labkit.selfcheck.cards import on_card
from labkit.selfcheck.exercise import Question, normal, numbers
from labkit.selfcheck.networks import Network, drawn

# Class activation map


def class_activation(A: Tensor, W: Tensor, target: int) -> Tensor:
    """The maps, weighted with a linear head's own weights for the class."""
    return torch.einsum("k,khw->hw", W[target], A)


def _class_activation_questions(rng: np.random.Generator) -> list[Question]:
    A = numbers([[[1, 0], [2, 1]], [[0, 3], [1, 1]]])
    W = numbers([[1, -1], [2, 0.5]])
    return [
        Question("by hand, class 0", {"A": A, "W": W, "target": 0}),
        Question("by hand, class 1", {"A": A, "W": W, "target": 1}),
        Question("random maps", {"A": normal(rng, 3, 4, 5), "W": normal(rng, 2, 3), "target": 1}),
        Question(
            "as many classes as maps",
            {"A": normal(rng, 3, 3, 3), "W": normal(rng, 3, 3), "target": 2},
            hidden=True,
        ),
    ]


CLASS_ACTIVATION = on_card(
    "lab4.class_activation",
    solve=class_activation,
    questions=_class_activation_questions,
    mistakes={
        0: {
            "a column of W instead of a row": (
                "`W` has a row for each class and a column for each map. Which of the two belongs "
                "to one class?",
                lambda A, W, target: torch.einsum("k,khw->hw", W[:, target], A),
            ),
            "all classes at once": (
                "You add up the maps of all classes. Return only the map of the class `target`.",
                lambda A, W, target: torch.einsum("ck,khw->hw", W, A),
            ),
        },
    },
)

# Grad-CAM: the weights


def channel_weights(dY_dA: Tensor) -> Tensor:
    """Alpha: the mean gradient of each map."""
    return dY_dA.mean(dim=(1, 2))


def _channel_weights_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = numbers([[[1, 2], [3, 6]], [[-4, 0], [0, 0]], [[1, -1], [1, -1]]])
    return [
        Question("by hand: three maps of 2 x 2", {"dY_dA": by_hand}),
        Question("random gradients", {"dY_dA": normal(rng, 4, 3, 5)}),
    ]


CHANNEL_WEIGHTS = on_card(
    "lab4.channel_weights",
    solve=channel_weights,
    questions=_channel_weights_questions,
    mistakes={
        0: {
            "absolute gradient": (
                "A map that speaks against the class must get a negative weight. Keep the sign.",
                lambda dY_dA: dY_dA.abs().mean(dim=(1, 2)),
            ),
            "positive gradients only": (
                "You drop the negative gradients. Grad-CAM has one ReLU, and it comes after the "
                "weighted sum.",
                lambda dY_dA: dY_dA.clamp(min=0).mean(dim=(1, 2)),
            ),
            "largest gradient instead of the mean": (
                "You pick the largest gradient of each map. The paper lets every place count.",
                lambda dY_dA: dY_dA.amax(dim=(1, 2)),
            ),
            "mean over the maps instead of over the places": (
                "Your result has one value per place. Return one value per map: over which of the "
                "dimensions [K, h, w] do you average?",
                lambda dY_dA: dY_dA.mean(dim=0),
            ),
            "mean over everything": (
                "You return one number for all maps together. Each map needs its own.",
                lambda dY_dA: dY_dA.mean(),
            ),
        },
    },
)

# Grad-CAM: the weighted sum


def weighted_sum(alpha: Tensor, A: Tensor) -> Tensor:
    """L: what of the weighted sum of the maps is positive."""
    return torch.relu(torch.einsum("k,khw->hw", alpha, A))


def _weighted_sum_questions(rng: np.random.Generator) -> list[Question]:
    x = numbers([[1, -2], [4, 0]])
    return [
        Question("by hand: A = (x, -x)", {"alpha": numbers([0.75, 0.25]), "A": np.stack([x, -x])}),
        Question(
            "by hand: weights of both signs", {"alpha": numbers([1, -2]), "A": np.stack([x, x + 1])}
        ),
        Question("random maps", {"alpha": normal(rng, 4), "A": normal(rng, 4, 3, 5)}),
        Question(
            "all places speak against the class",
            {"alpha": -np.abs(normal(rng, 3)), "A": np.abs(normal(rng, 3, 2, 4))},
        ),
    ]


WEIGHTED_SUM = on_card(
    "lab4.weighted_sum",
    solve=weighted_sum,
    questions=_weighted_sum_questions,
    slips={"mean instead of sum": 1, "divided by the maximum": 1},
    mistakes={
        1: {
            "no ReLU": (
                "Your map has negative places. Grad-CAM keeps only what speaks for the class.",
                lambda alpha, A: torch.einsum("k,khw->hw", alpha, A),
            ),
            "ReLU on each map before the sum": (
                "You cut each weighted map at zero and then add up, so maps can no longer cancel. "
                "Which comes first in the formula?",
                lambda alpha, A: torch.relu(alpha[:, None, None] * A).sum(dim=0),
            ),
        },
        0: {
            "absolute value instead of a ReLU": (
                "In your map, places that speak against the class are positive. They must be zero.",
                lambda alpha, A: torch.einsum("k,khw->hw", alpha, A).abs(),
            ),
        },
    },
)

# Enlarging


def upsample(L: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, pixels taken as areas."""
    return enlarged(L, (height, width))


def _upsample_questions(rng: np.random.Generator) -> list[Question]:
    return [
        Question("by hand: 1 x 2 to 1 x 4", {"L": numbers([[0, 4]]), "height": 1, "width": 4}),
        Question("by hand: 2 x 1 to 4 x 3", {"L": numbers([[0], [4]]), "height": 4, "width": 3}),
        Question("a random map", {"L": normal(rng, 3, 4), "height": 12, "width": 20}),
        Question("sizes that do not divide", {"L": normal(rng, 3, 2), "height": 7, "width": 5}),
    ]


def _interpolated(L: Tensor, height: int, width: int, **settings: object) -> Tensor:
    return F.interpolate(L[None, None], size=(height, width), **settings)[0, 0]


UPSAMPLE = on_card(
    "lab4.upsample",
    solve=upsample,
    questions=_upsample_questions,
    slips={"too many dimensions": 1},
    mistakes={
        1: {
            "align_corners=True": (
                "You put the outermost places on the picture's corners, which stretches the map. "
                "The value of a place belongs to the centre of its area.",
                partial(_interpolated, mode="bilinear", align_corners=True),
            ),
            "bicubic": (
                "Bicubic interpolation overshoots: it can turn a map without negative values "
                "negative.",
                partial(_interpolated, mode="bicubic", align_corners=False),
            ),
        },
        0: {
            "nearest neighbour": (
                "The map has blocks: `interpolate` takes the nearest place unless you name a mode.",
                partial(_interpolated, mode="nearest"),
            ),
        },
    },
)

# Grad-CAM as a whole


def _activations_and_gradients(
    features: nn.Module, head: nn.Module, image: Tensor, target: int
) -> tuple[Tensor, Tensor]:
    A = features(image[None]).detach().requires_grad_()  # [1, K, h, w]
    (dY_dA,) = torch.autograd.grad(head(A)[0, target], A)
    return A.detach()[0], dY_dA[0]


def gradcam(features: nn.Module, head: nn.Module, image: Tensor, target: int) -> Tensor:
    """Grad-CAM of a network in two halves."""
    A, dY_dA = _activations_and_gradients(features, head, image, target)
    return upsample(weighted_sum(channel_weights(dY_dA), A), *image.shape[1:])


def _from(other: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A wrong `gradcam` that makes another map of A and dY/dA."""
    return lambda features, head, image, target: other(
        *_activations_and_gradients(features, head, image, target), *image.shape[1:]
    )


def _signed_sum(A: Tensor, dY_dA: Tensor) -> Tensor:
    return torch.einsum("k,khw->hw", channel_weights(dY_dA), A)


def _gradcam_questions(rng: np.random.Generator) -> list[Question]:
    # Class 0: alpha = (3/4, 1/4) and A = (x, -x), so that L = relu((3/4 - 1/4) x) = relu(x / 2).
    x = numbers([[[1, -2], [4, 0]]])
    features = Network("maps", {"conv.weight": numbers([1, -1]).reshape(2, 1, 1, 1)})
    gradients = numbers([[1, 0.5, 1, 0.5, 0, 1, 0, 0], [-1, -1, -1, -1, 0, 0, 0, 0]])
    head = Network("flat_head", {"out.weight": gradients, "out.bias": numbers([0, 0])})
    by_hand = {"features": features, "head": head, "image": x}
    halves = {
        "features": drawn(rng, "features", conv1=(4, 3, 3, 3), conv2=(6, 4, 3, 3)),
        "head": drawn(rng, "flat_head", out=(3, 6 * 4 * 5)),
        "image": normal(rng, 3, 8, 10),
    }
    return [
        Question("by hand: A = (x, -x), class 0", by_hand | {"target": 0}),
        Question("by hand: A = (x, -x), class 1", by_hand | {"target": 1}),
        *(Question(f"a random network, class {k}", halves | {"target": k}) for k in range(3)),
    ]


GRADCAM = on_card(
    "lab4.gradcam",
    solve=gradcam,
    questions=_gradcam_questions,
    slips={"softmax for logit": 2, "the winning class instead of the target": 1},
    mistakes={
        2: {
            "ReLU after upsampling": (
                "You enlarge first and cut at zero afterwards. Negative places then lower their "
                "neighbours; apply the ReLU first.",
                _from(lambda A, dY_dA, h, w: torch.relu(upsample(_signed_sum(A, dY_dA), h, w))),
            ),
            "align_corners=True": (
                "The map is stretched towards the picture's corners. See the check of `upsample`.",
                _from(
                    lambda A, dY_dA, h, w: _interpolated(
                        torch.relu(_signed_sum(A, dY_dA)), h, w, mode="bilinear", align_corners=True
                    )
                ),
            ),
            "sum instead of mean": (
                "Your map grows with the number of places. The weights are means of gradients, "
                "not sums.",
                _from(
                    lambda A, dY_dA, h, w: upsample(weighted_sum(dY_dA.sum(dim=(1, 2)), A), h, w)
                ),
            ),
        },
        1: {
            "no ReLU": (
                "Your map has negative places. Grad-CAM keeps only what speaks for the class.",
                _from(lambda A, dY_dA, h, w: upsample(_signed_sum(A, dY_dA), h, w)),
            ),
            "not enlarged": (
                "The map still has the size of the feature maps. Enlarge it to the size of the "
                "picture.",
                _from(lambda A, dY_dA, h, w: torch.relu(_signed_sum(A, dY_dA))),
            ),
            "gradient times activation, place by place": (
                "You multiply each place by its own gradient. Grad-CAM first averages the "
                "gradient over the map, so all places of a map have one weight.",
                _from(lambda A, dY_dA, h, w: upsample(torch.relu((dY_dA * A).sum(dim=0)), h, w)),
            ),
        },
        0: {
            "absolute gradient": (
                "Maps that speak against the class count as if they spoke for it. Keep the "
                "gradient's sign.",
                _from(
                    lambda A, dY_dA, h, w: upsample(
                        weighted_sum(channel_weights(dY_dA.abs()), A), h, w
                    )
                ),
            ),
        },
    },
)

# FEM


def _mean(A: Tensor) -> Tensor:
    return A.mean(dim=(1, 2), keepdim=True)


def _deviation(A: Tensor) -> Tensor:
    return A.std(dim=(1, 2), keepdim=True, correction=0)


def _marks(A: Tensor, k: float) -> Tensor:
    return (A - _mean(A) > k * _deviation(A)).to(A.dtype)


def _means_of(A: Tensor, marked: Tensor) -> Tensor:
    """At each place, the sum of the means of the maps that are marked there."""
    return (_mean(A) * marked).sum(dim=0)


def fem(A: Tensor, k: float) -> Tensor:
    """S: at each place, the means of the maps that are unusually active there."""
    return _means_of(A, A - _mean(A) > k * _deviation(A))


def _fem_questions(rng: np.random.Generator) -> list[Question]:
    # One active place of six lies sqrt(5) = 2.24 deviations above the mean, or 2.04 of those that
    # divide by n - 1.
    one_of_six = numbers([[[0, 0, 6], [0, 0, 0]]])
    two_maps = numbers([[[0, 0, 6], [0, 0, 0]], [[0, 3, 0], [0, 0, 0]]])
    some = np.maximum(normal(rng, 5, 6, 7), 0)
    constant = np.concatenate([some[:2, :4, :4], np.full((1, 4, 4), 0.5, dtype=np.float32)])
    return [
        Question("by hand: one active place of six", {"A": one_of_six, "k": 2.1}),
        Question("by hand: one silent place of six", {"A": 6 - one_of_six, "k": 2.0}),
        Question("by hand: two maps", {"A": two_maps, "k": 1.0}),
        Question("random maps, k = 1", {"A": some, "k": 1.0}),
        Question("random maps, k = 2", {"A": some, "k": 2.0}),
        Question("one map is constant", {"A": constant, "k": 1.5}),
    ]


FEM = on_card(
    "lab4.fem",
    solve=fem,
    questions=_fem_questions,
    slips={"k left out": 2},
    mistakes={
        2: {
            "sample for population deviation": (
                "By default, torch's `std` divides by n - 1. The places of a map are not a "
                "sample: divide by n.",
                lambda A, k: _means_of(A, A - _mean(A) > k * A.std(dim=(1, 2), keepdim=True)),
            ),
            ">= instead of >": (
                "You mark all places of a constant map, but none of them is unusual. Use >.",
                lambda A, k: _means_of(A, A - _mean(A) >= k * _deviation(A)),
            ),
        },
        1: {
            "variance for deviation": (
                "You compare with the variance, whose unit is the square of the map's. Use the "
                "deviation.",
                lambda A, k: _means_of(A, A - _mean(A) > k * _deviation(A).square()),
            ),
            "marks without weights": (
                "You count the marks. In the sum each mark is worth its map's mean.",
                lambda A, k: _marks(A, k).sum(dim=0),
            ),
            "activations instead of marks": (
                "You multiply the marks by the activations. The authors add up marks of 0 and 1.",
                lambda A, k: (_mean(A) * _marks(A, k) * A).sum(dim=0),
            ),
            "the other library's formula": (
                "This is another library's formula under the same name: share of marked places "
                "times activation. The authors use another weight.",
                lambda A, k: (_mean(_marks(A, k)) * _marks(A, k) * A).sum(dim=0),
            ),
            "one mean for all maps": (
                "You take the mean and deviation over all maps together. Each map has its own.",
                lambda A, k: _means_of(A, A - A.mean() > k * A.std(correction=0)),
            ),
            "unusual on both sides": (
                "You also mark places far *below* the mean. FEM marks only unusually active "
                "places.",
                lambda A, k: _means_of(A, (A - _mean(A)).abs() > k * _deviation(A)),
            ),
        },
    },
)

EXERCISES = (
    CLASS_ACTIVATION,
    CHANNEL_WEIGHTS,
    WEIGHTED_SUM,
    UPSAMPLE,
    FEM,
    GRADCAM,
    on_card("lab4.q1"),
)
