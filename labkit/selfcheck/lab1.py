"""Lab 1: two class means, a direction between them, and how to judge it by ROC."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from labkit.probe import discriminant, mean_difference, roc_auc
from labkit.selfcheck.cards import on_card
from labkit.selfcheck.exercise import Question, normal, numbers


def _labels(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def _two_classes(rng: np.random.Generator, n: int, D: int) -> dict[str, np.ndarray]:
    """Features of two classes of different sizes, in mixed order."""
    labels = rng.permutation(_labels(*[0] * (n // 3), *[1] * (n - n // 3)))
    return {"features": normal(rng, n, D) + labels[:, None].astype(np.float32), "labels": labels}


FIVE_POINTS = {
    "features": numbers([[0, 0], [2, 0], [4, 3], [4, 5], [4, 4]]),
    "labels": _labels(0, 0, 1, 1, 1),
}

# Class means


def class_means(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """mu_0 and mu_1."""
    return features[labels == 0].mean(dim=0), features[labels == 1].mean(dim=0)


def _of_classes(summary: Callable[[Tensor], Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """A wrong `class_means` that sums up the pictures of a class in its own way."""
    return lambda features, labels: (summary(features[labels == 0]), summary(features[labels == 1]))


def _class_means_questions(rng: np.random.Generator) -> list[Question]:
    return [
        Question("by hand: five points in the plane", FIVE_POINTS),
        Question("random features", _two_classes(rng, 11, 4)),
    ]


CLASS_MEANS = on_card(
    "lab1.class_means",
    solve=class_means,
    questions=_class_means_questions,
    mistakes={
        0: {
            "sum instead of mean": (
                "Your vectors grow with the number of pictures in a class. What do you divide by?",
                _of_classes(lambda some: some.sum(dim=0)),
            ),
            "divided by all pictures": (
                "You divide by the number of all pictures; each class has its own number.",
                lambda features, labels: _of_classes(lambda some: some.sum(dim=0) / len(features))(
                    features, labels
                ),
            ),
            "mean over the features instead of the pictures": (
                "You average along the wrong dimension. Return one number for each feature.",
                _of_classes(lambda some: some.mean(dim=1)),
            ),
            "median instead of mean": (
                "You take the middle value of each feature. A mean uses all of them.",
                _of_classes(lambda some: some.median(dim=0).values),
            ),
        },
    },
)

# Mean difference


def _difference(features: Tensor, labels: Tensor) -> Tensor:
    mu_0, mu_1 = class_means(features, labels)
    return mu_1 - mu_0


def _mean_difference_questions(rng: np.random.Generator) -> list[Question]:
    return [
        Question("by hand: from (1, 0) to (4, 4)", FIVE_POINTS),
        Question("random features", _two_classes(rng, 11, 4)),
        Question("many features, few pictures", _two_classes(rng, 6, 20)),
    ]


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


MEAN_DIFFERENCE = on_card(
    "lab1.mean_difference",
    solve=mean_difference,
    questions=_mean_difference_questions,
    slips={"opposite sign": 1},
    mistakes={
        1: {
            "not normalised": ("The direction is right, but its length is not 1.", _difference),
            "divided by the sum of absolute values": (
                "Your absolute values add up to 1. The Euclidean length must be 1.",
                lambda features, labels: (
                    _difference(features, labels) / _difference(features, labels).abs().sum()
                ),
            ),
            "divided by the squared length": (
                "You divide by the squared length. Compute the length of your w: is it 1?",
                lambda features, labels: (
                    _difference(features, labels) / _difference(features, labels).square().sum()
                ),
            ),
        },
        0: {
            "sums instead of means": (
                "The classes have different numbers of pictures. With sums, the larger class "
                "counts more.",
                lambda features, labels: _unit(
                    features[labels == 1].sum(dim=0) - features[labels == 0].sum(dim=0)
                ),
            ),
            "each mean normalised by itself": (
                "You bring both means to length 1 before you take their difference. Normalise "
                "only the difference.",
                lambda features, labels: (
                    _unit(features[labels == 1].mean(dim=0))
                    - _unit(features[labels == 0].mean(dim=0))
                ),
            ),
            "normalised twice": (
                "You bring both means to length 1 before you take their difference. Normalise "
                "only the difference.",
                lambda features, labels: _unit(
                    _unit(features[labels == 1].mean(dim=0))
                    - _unit(features[labels == 0].mean(dim=0))
                ),
            ),
        },
    },
)

# Discriminant


def _discriminant_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = numbers([[1, 0], [0, 1], [5, -5], [0, 0]])
    return [
        Question("by hand: four points", {"features": by_hand, "w": numbers([0.6, 0.8])}),
        Question("random features", {"features": normal(rng, 7, 5), "w": normal(rng, 5)}),
        Question("one picture", {"features": normal(rng, 1, 5), "w": normal(rng, 5)}),
    ]


DISCRIMINANT = on_card(
    "lab1.discriminant",
    solve=discriminant,
    questions=_discriminant_questions,
    mistakes={
        0: {
            "product without the sum": (
                "You have a number for each feature of each picture. A dot product adds them up.",
                lambda features, w: features * w,
            ),
            "summed over the pictures": (
                "You add up over the pictures and get a number for each feature.",
                lambda features, w: (features * w).sum(dim=0),
            ),
            "cosine instead of dot product": (
                "You divide by the length of the features. A picture with long features may score "
                "high.",
                lambda features, w: torch.cosine_similarity(features, w[None], dim=1),
            ),
        },
    },
)

# Rates at one threshold


def rates(scores: Tensor, labels: Tensor, threshold: float) -> tuple[float, float]:
    """True and false positive rate when score >= threshold is called class 1."""
    positive = scores >= threshold
    return _share(positive[labels == 1]), _share(positive[labels == 0])


def _share(answers: Tensor) -> float:
    return answers.double().mean().item()


def _rates_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = {"scores": numbers([1, 2, 3, 4, 5]), "labels": _labels(0, 1, 0, 1, 1)}
    some = {"scores": normal(rng, 17), "labels": _two_classes(rng, 17, 1)["labels"]}
    return [
        Question("by hand: five scores, threshold 3.5", by_hand | {"threshold": 3.5}),
        Question("by hand: a score on the threshold", by_hand | {"threshold": 3.0}),
        Question("random scores", some | {"threshold": 0.1}),
        Question("a threshold below all scores", some | {"threshold": -9.0}, hidden=True),
    ]


RATES = on_card(
    "lab1.rates",
    solve=rates,
    questions=_rates_questions,
    slips={"results swapped": 1},
    mistakes={
        1: {
            "> instead of >=": (
                "A score *on* the threshold counts as class 1.",
                lambda scores, labels, threshold: (
                    _share(scores[labels == 1] > threshold),
                    _share(scores[labels == 0] > threshold),
                ),
            ),
            "true negatives instead of false positives": (
                "Your second rate is the share of class 0 that is recognised. Return the share "
                "that is mistaken for class 1.",
                lambda scores, labels, threshold: (
                    rates(scores, labels, threshold)[0],
                    1 - rates(scores, labels, threshold)[1],
                ),
            ),
        },
        0: {
            "divided by all pictures": (
                "You divide by the number of all pictures. Each rate is a share of one class.",
                lambda scores, labels, threshold: (
                    ((scores >= threshold) & (labels == 1)).double().mean().item(),
                    ((scores >= threshold) & (labels == 0)).double().mean().item(),
                ),
            ),
            "shares of the answers instead of the classes": (
                "You compute how many of those *called* class 1 are right; that is the precision. "
                "A rate is how many of a *true* class are called class 1.",
                lambda scores, labels, threshold: (
                    _share(labels[scores >= threshold] == 1),
                    _share(labels[scores >= threshold] == 0),
                ),
            ),
            "counts instead of shares": (
                "You count. A rate lies between 0 and 1.",
                lambda scores, labels, threshold: (
                    ((scores >= threshold) & (labels == 1)).sum().item(),
                    ((scores >= threshold) & (labels == 0)).sum().item(),
                ),
            ),
            "class 1 below the threshold": (
                "You call class 1 what scores *below* the threshold.",
                lambda scores, labels, threshold: rates(-scores, labels, -threshold),
            ),
        },
    },
)

# AUC


def _pairs(scores: Tensor, labels: Tensor) -> Tensor:
    """Score of each picture of class 1 minus that of each picture of class 0."""
    return (scores[labels == 1][:, None] - scores[labels == 0]).double()


def _half_at(scores: Tensor, labels: Tensor, tie: float) -> float:
    difference = _pairs(scores, labels)
    return ((difference > 0).double() + tie * (difference == 0)).mean().item()


def _trapezoids(scores: Tensor, labels: Tensor, thresholds: Tensor) -> float:
    found = [rates(scores, labels, t.item()) for t in thresholds.sort(descending=True).values]
    rate_1, rate_0 = torch.tensor(found).T
    return torch.trapezoid(rate_1, rate_0).item()


def _auc_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = {"scores": numbers([1, 2, 3, 4]), "labels": _labels(0, 1, 0, 1)}
    ties = {"scores": numbers([1, 2, 2, 2, 3]), "labels": _labels(0, 0, 1, 1, 0)}
    labels = _two_classes(rng, 20, 1)["labels"]
    rounded = numbers(np.round(2 * (normal(rng, 20) + labels)))
    return [
        Question("by hand: three of four pairs", by_hand),
        Question("by hand: with ties", ties),
        Question("random scores", {"scores": normal(rng, 20) + numbers(labels), "labels": labels}),
        Question("random scores with ties", {"scores": rounded, "labels": labels}),
        Question(
            "all scores are the same", {"scores": numbers([2, 2, 2]), "labels": _labels(1, 0, 1)}
        ),
    ]


ROC_AUC = on_card(
    "lab1.roc_auc",
    solve=roc_auc,
    questions=_auc_questions,
    mistakes={
        2: {
            "ties count nothing": (
                "Two equal scores are a toss of a coin: such a pair counts one half.",
                lambda scores, labels: _half_at(scores, labels, 0.0),
            ),
            "ties count as won": (
                "Two equal scores are a toss of a coin: such a pair counts one half.",
                lambda scores, labels: _half_at(scores, labels, 1.0),
            ),
            "the curve does not begin at (0, 0)": (
                "At your largest threshold, some pictures are already called class 1. Which "
                "threshold calls no picture class 1?",
                lambda scores, labels: _trapezoids(scores, labels, scores.unique()),
            ),
        },
        1: {
            "classes swapped": (
                "You count how often class 0 outscores class 1.",
                lambda scores, labels: roc_auc(-scores, labels),
            ),
            "number of pairs instead of their share": (
                "You count pairs. An AUC lies between 0 and 1.",
                lambda scores, labels: (
                    _half_at(scores, labels, 0.5) * _pairs(scores, labels).numel()
                ),
            ),
            "divided by all pairs, also within a class": (
                "You divide by more pairs than you compare: a pair has one picture of each class.",
                lambda scores, labels: (
                    roc_auc(scores, labels) * _pairs(scores, labels).numel() / len(scores) ** 2
                ),
            ),
            "ten equal thresholds": (
                "Equally spaced thresholds cut the curve's corners. Where does a count change?",
                lambda scores, labels: _trapezoids(
                    scores, labels, torch.linspace(scores.min().item(), scores.max().item(), 10)
                ),
            ),
        },
        0: {
            "the AUC of answers at one threshold": (
                "You cut the scores at a threshold first. That loses their order, and the curve "
                "has only one corner.",
                lambda scores, labels: roc_auc((scores >= scores.mean()).double(), labels),
            ),
            "the AUC of answers at zero": (
                "You cut the scores at a threshold first. That loses their order, and the curve "
                "has only one corner.",
                lambda scores, labels: roc_auc((scores > 0).double(), labels),
            ),
            "accuracy instead of the area": (
                "You compute the share of right answers at one threshold. The area has no "
                "threshold.",
                lambda scores, labels: ((scores >= 0) == (labels == 1)).double().mean().item(),
            ),
        },
    },
)

# The probe as a classifier


def probe_logits(g: Tensor, threshold: float) -> Tensor:
    """Logits (0, g - threshold)."""
    return torch.stack([torch.zeros_like(g), g - threshold], dim=1)


def _probe_logits_questions(rng: np.random.Generator) -> list[Question]:
    return [
        Question("by hand: three scores", {"g": numbers([1, 3, -2]), "threshold": 2.0}),
        Question("random scores", {"g": normal(rng, 6), "threshold": float(rng.normal())}),
    ]


PROBE_LOGITS = on_card(
    "lab1.probe_logits",
    solve=probe_logits,
    questions=_probe_logits_questions,
    slips={
        "columns in reverse order": 1,
        "probabilities instead of logits": 1,
        "transposed": 1,
        "opposite sign of threshold": 1,
    },
    mistakes={
        1: {
            "both logits move": (
                "Your logits differ by twice the margin, so the probability is wrong. Keep the "
                "logit of class 0 at 0.",
                lambda g, threshold: torch.stack([threshold - g, g - threshold], dim=1),
            ),
            "the threshold as logit of class 0": (
                "The decision is right, but the logit of class 0 must be 0. Where does the "
                "threshold go instead?",
                lambda g, threshold: torch.stack([torch.full_like(g, threshold), g], dim=1),
            ),
        },
        0: {
            "answers instead of logits": (
                "You give 0 or 1. A logit says how far from the threshold the picture is.",
                lambda g, threshold: torch.stack(
                    [torch.zeros_like(g), (g >= threshold).to(g.dtype)], dim=1
                ),
            ),
        },
    },
)

EXERCISES = (
    CLASS_MEANS,
    MEAN_DIFFERENCE,
    DISCRIMINANT,
    RATES,
    PROBE_LOGITS,
    ROC_AUC,
    on_card("lab1.q1"),
)
