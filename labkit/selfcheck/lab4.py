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
from labkit.selfcheck.exercise import Mistake, Question, normal, numbers
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
    mistakes=(
        Mistake(
            "a column of W instead of a row",
            "`W` has a row for each class and a column for each map. Which of the two belongs to "
            "one class?",
            lambda A, W, target: torch.einsum("k,khw->hw", W[:, target], A),
        ),
        Mistake(
            "mean over the maps instead of their sum",
            "The class score adds up what the maps contribute. You divide by their number.",
            lambda A, W, target: class_activation(A, W, target) / len(A),
        ),
        Mistake(
            "a ReLU that CAM does not have",
            "CAM keeps places that speak against the class. The ReLU comes with Grad-CAM.",
            lambda A, W, target: torch.relu(class_activation(A, W, target)),
        ),
        Mistake(
            "all classes at once",
            "One map of the class `target` is wanted, and you add up those of all classes.",
            lambda A, W, target: torch.einsum("ck,khw->hw", W, A),
        ),
        Mistake(
            "the maps without their weights",
            "Each map counts as much as any other in your sum. Where does the class come in?",
            lambda A, W, target: A.sum(dim=0),
        ),
    ),
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
    mistakes=(
        Mistake(
            "sum instead of mean",
            "Your weights grow with the number of places in a map; the paper's do not. What does "
            "the factor 1/Z in its formula do?",
            lambda dY_dA: dY_dA.sum(dim=(1, 2)),
        ),
        Mistake(
            "absolute gradient",
            "A map that speaks against the class must get a negative weight. Where does the sign "
            "get lost?",
            lambda dY_dA: dY_dA.abs().mean(dim=(1, 2)),
        ),
        Mistake(
            "positive gradients only",
            "You drop the negative gradients. In Grad-CAM there is one ReLU, and it comes later, "
            "after the weighted sum.",
            lambda dY_dA: dY_dA.clamp(min=0).mean(dim=(1, 2)),
        ),
        Mistake(
            "largest gradient instead of the mean",
            "You pick the largest gradient of each map. The paper lets every place count.",
            lambda dY_dA: dY_dA.amax(dim=(1, 2)),
        ),
        Mistake(
            "mean over the maps instead of over the places",
            "Your result has a value for each place. Wanted is a value for each map: over which "
            "of the dimensions [K, h, w] must you average?",
            lambda dY_dA: dY_dA.mean(dim=0),
        ),
        Mistake(
            "mean over everything",
            "One number came back for all maps together; each map needs its own.",
            lambda dY_dA: dY_dA.mean(),
        ),
    ),
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
    mistakes=(
        Mistake(
            "no ReLU",
            "Your map has negative places. Grad-CAM keeps only what speaks for the class.",
            lambda alpha, A: torch.einsum("k,khw->hw", alpha, A),
            points=1,
        ),
        Mistake(
            "ReLU on each map before the sum",
            "You cut each weighted map at zero and then add up. What speaks against the class in "
            "one map can then no longer outweigh another map. Which comes first in the formula?",
            lambda alpha, A: torch.relu(alpha[:, None, None] * A).sum(dim=0),
            points=1,
        ),
        Mistake(
            "absolute value instead of a ReLU",
            "Places that speak against the class must be zero, and yours are positive.",
            lambda alpha, A: torch.einsum("k,khw->hw", alpha, A).abs(),
        ),
        Mistake(
            "mean over the maps instead of their sum",
            "You divide by the number of maps; the paper adds them up.",
            lambda alpha, A: weighted_sum(alpha, A) / len(A),
            points=1,
        ),
        Mistake(
            "divided by the maximum",
            "The map is to stay raw, in logits. Scaling for the eye is left to the figure, and an "
            "empty map cannot be scaled at all.",
            lambda alpha, A: weighted_sum(alpha, A) / weighted_sum(alpha, A).max(),
            points=1,
        ),
        Mistake(
            "weights without their sign",
            "A negative weight takes away from the map. You use its absolute value.",
            lambda alpha, A: weighted_sum(alpha.abs(), A),
        ),
    ),
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
    mistakes=(
        Mistake(
            "nearest neighbour",
            "The map has blocks: `interpolate` takes the nearest place unless you name a mode.",
            partial(_interpolated, mode="nearest"),
        ),
        Mistake(
            "align_corners=True",
            "The outermost places were put on the picture's corners, so that the map is stretched. "
            "A place stands for an area: its value belongs to the area's centre.",
            partial(_interpolated, mode="bilinear", align_corners=True),
            points=1,
        ),
        Mistake(
            "bicubic",
            "Bicubic interpolation overshoots: it can turn a map without negative values negative.",
            partial(_interpolated, mode="bicubic", align_corners=False),
            points=1,
        ),
        Mistake(
            "height and width swapped",
            "Tensors have height before width. What order does your `size` have?",
            lambda L, height, width: upsample(L, width, height),
        ),
        Mistake(
            "the batch dimensions left on",
            "`interpolate` wants [N, C, h, w] and gives [N, C, H, W]; only [H, W] is to come back.",
            lambda L, height, width: upsample(L, height, width)[None, None],
            points=1,
        ),
    ),
)

# Grad-CAM as a whole


def _logit(logits: Tensor, target: int) -> Tensor:
    return logits[0, target]


def _finished(L: Tensor, height: int, width: int) -> Tensor:
    return upsample(torch.relu(L), height, width)


def gradcam(
    features: nn.Module,
    head: nn.Module,
    image: Tensor,
    target: int,
    *,
    score: Callable[[Tensor, int], Tensor] = _logit,
    weighted: Callable[[Tensor, Tensor], Tensor] = lambda dY_dA, A: (
        channel_weights(dY_dA)[:, None, None] * A
    ),
    finished: Callable[[Tensor, int, int], Tensor] = _finished,
) -> Tensor:
    """Grad-CAM of a network in two halves; the settings exist to make mistakes with."""
    A = features(image[None]).detach().requires_grad_()  # [1, K, h, w]
    (dY_dA,) = torch.autograd.grad(score(head(A), target), A)
    L = weighted(dY_dA[0], A.detach()[0]).sum(dim=0)
    return finished(L, *image.shape[1:])


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
    mistakes=(
        Mistake(
            "softmax for logit",
            "You differentiate the probability. It also moves when another class moves, and hardly "
            "at all where the network is sure. The paper's Y is the score before the softmax.",
            partial(gradcam, score=lambda logits, target: logits.softmax(dim=1)[0, target]),
            points=2,
        ),
        Mistake(
            "the winning class instead of the target",
            "You explain the class with the largest score, whatever `target` says.",
            partial(gradcam, score=lambda logits, target: logits.max()),
            points=1,
        ),
        Mistake(
            "all classes at once",
            "You differentiate the sum of all logits. One class is to be explained.",
            partial(gradcam, score=lambda logits, target: logits.sum()),
        ),
        Mistake(
            "ReLU after upsampling",
            "You enlarge first and cut at zero afterwards. Negative places then eat into their "
            "neighbours. In which order does the formula do it?",
            partial(gradcam, finished=lambda L, h, w: torch.relu(upsample(L, h, w))),
            points=2,
        ),
        Mistake(
            "align_corners=True",
            "The map is stretched towards the picture's corners, as your `upsample` may do; the "
            "check of that exercise says why.",
            partial(
                gradcam,
                finished=lambda L, h, w: _interpolated(
                    torch.relu(L), h, w, mode="bilinear", align_corners=True
                ),
            ),
            points=2,
        ),
        Mistake(
            "no ReLU",
            "Your map has negative places. Grad-CAM keeps only what speaks for the class.",
            partial(gradcam, finished=upsample),
            points=1,
        ),
        Mistake(
            "not enlarged",
            "The map still has the size of the feature maps; it is to lie on the picture.",
            partial(gradcam, finished=lambda L, h, w: torch.relu(L)),
            points=1,
        ),
        Mistake(
            "gradient times activation, place by place",
            "You multiply each place with its own gradient. Grad-CAM averages the gradient of a "
            "map first, and gives all of its places the same weight.",
            partial(gradcam, weighted=lambda dY_dA, A: dY_dA * A),
            points=1,
        ),
        Mistake(
            "sum instead of mean",
            "Your map grows with the number of places: the weights are sums of gradients, where "
            "the paper takes their mean.",
            partial(gradcam, weighted=lambda dY_dA, A: dY_dA.sum(dim=(1, 2), keepdim=True) * A),
            points=2,
        ),
        Mistake(
            "absolute gradient",
            "Maps that speak against the class count as if they spoke for it. Keep the gradient's "
            "sign.",
            partial(
                gradcam, weighted=lambda dY_dA, A: dY_dA.abs().mean(dim=(1, 2), keepdim=True) * A
            ),
        ),
    ),
)

# FEM


def _mean(A: Tensor) -> Tensor:
    return A.mean(dim=(1, 2), keepdim=True)


def _deviation(A: Tensor) -> Tensor:
    return A.std(dim=(1, 2), keepdim=True, correction=0)


def _marks(A: Tensor, k: float) -> Tensor:
    return (A - _mean(A) > k * _deviation(A)).to(A.dtype)


def fem(A: Tensor, k: float) -> Tensor:
    """S: at each place, the means of the maps that are unusually active there."""
    return (_mean(A) * _marks(A, k)).sum(dim=0)


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
    mistakes=(
        Mistake(
            "sample for population deviation",
            "torch's `std` divides by n - 1 unless told otherwise. The places of a map are all "
            "there is, not a sample: divide by n.",
            lambda A, k: (
                _mean(A) * (_mean(A) + k * A.std(dim=(1, 2), keepdim=True) < A).to(A.dtype)
            ).sum(dim=0),
            points=2,
        ),
        Mistake(
            ">= instead of >",
            "A constant map has no unusual place, and yours marks all of its places. Compare "
            "strictly.",
            lambda A, k: (_mean(A) * (A - _mean(A) >= k * _deviation(A)).to(A.dtype)).sum(dim=0),
            points=2,
        ),
        Mistake(
            "variance for deviation",
            "You compare with the variance. Its unit is the square of the map's: which quantity "
            "has the map's own unit?",
            lambda A, k: (_mean(A) * (_mean(A) + k * _deviation(A).square() < A).to(A.dtype)).sum(
                dim=0
            ),
            points=1,
        ),
        Mistake(
            "marks without weights",
            "You count the marks. In the sum each mark is worth its map's mean.",
            lambda A, k: _marks(A, k).sum(dim=0),
            points=1,
        ),
        Mistake(
            "activations instead of marks",
            "You add up activations at the marked places. The authors add up marks, zeros and "
            "ones.",
            lambda A, k: (_mean(A) * _marks(A, k) * A).sum(dim=0),
            points=1,
        ),
        Mistake(
            "the other library's formula",
            "This is the formula of a library whose method has the same name: share of marked "
            "places times activation. The authors' weight is another one.",
            lambda A, k: (_mean(_marks(A, k)) * _marks(A, k) * A).sum(dim=0),
            points=1,
        ),
        Mistake(
            "one mean for all maps",
            "Each map has its own mean and its own deviation; yours are taken over all maps "
            "together.",
            lambda A, k: (_mean(A) * (A.mean() + k * A.std(correction=0) < A).to(A.dtype)).sum(
                dim=0
            ),
            points=1,
        ),
        Mistake(
            "k always 2",
            "Your result does not change with `k`.",
            lambda A, k: fem(A, 2.0),
            points=2,
        ),
        Mistake(
            "unusual on both sides",
            "You also mark places far *below* the mean. FEM looks for unusually active ones.",
            lambda A, k: (_mean(A) * ((A - _mean(A)).abs() > k * _deviation(A)).to(A.dtype)).sum(
                dim=0
            ),
            points=1,
        ),
    ),
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
