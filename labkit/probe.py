"""Lab 1: a linear classifier on a network's features, and how to judge it.

Alain and Bengio, "Understanding intermediate layers using linear classifier probes", ICLR workshop
2017, https://arxiv.org/abs/1610.01644. Differs from the paper: the direction is the difference of
the class means, which needs no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from labkit.data import Leaves
from labkit.engine.hooks import activations, recorded
from labkit.models import Classifier, any_image, feature_layers


def features(
    model: nn.Module,
    images: Tensor,
    layer: str,
    *,
    grid: int | None = None,
    batch_size: int = 8,
    progress: bool = False,
) -> Tensor:
    """A layer's feature maps, flattened to one vector a picture.

    Args:
        model: the network.
        images: `[N, C, H, W]`, normalised as the model expects.
        layer: a layer's name; `labkit.models.feature_layers(model)` lists the usual ones.
        grid: average the maps down to `grid x grid` first; None keeps every position.
        batch_size: pictures per forward pass.
        progress: show a bar.

    Returns:
        `[N, D]`, float32, on the CPU.

    Raises:
        ValueError: images are no batch, or the layer is not in the model.
    """
    return features_of_layers(
        model, images, [layer], grid=grid, batch_size=batch_size, progress=progress
    )[layer]


def features_of_layers(
    model: nn.Module,
    images: Tensor,
    layers: Sequence[str],
    *,
    grid: int | None = None,
    batch_size: int = 8,
    progress: bool = False,
) -> dict[str, Tensor]:
    """The features of several layers, from the same forward passes; see `features`."""
    if not isinstance(images, Tensor) or images.ndim != 4 or len(images) == 0:
        got = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"images must be a batch [N, C, H, W], got {got}; "
            "model.prepare_all(pictures) makes one, image[None] turns one image into one"
        )
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    for batch in tqdm(images.split(batch_size), desc="forward passes", disable=not progress):
        for layer, maps in zip(layers, activations(model, batch, layers), strict=True):
            if grid is not None and maps.ndim == 4:
                maps = F.adaptive_avg_pool2d(maps, grid)
            found[layer].append(maps.flatten(1).float().cpu())
    return {layer: torch.cat(parts) for layer, parts in found.items()}


def mean_difference(features: Tensor, labels: Tensor) -> Tensor:
    """The unit vector from the mean of class 0 to the mean of class 1.

    Args:
        features: `[N, D]`.
        labels: `[N]`, 0 or 1, both present.

    Returns:
        w `[D]`, of length 1.

    Raises:
        ValueError: shapes or labels do not fit, or the two means are the same point.
    """
    _check_features(features)
    labels = _check_labels(labels, len(features))
    difference = features[labels == 1].mean(dim=0) - features[labels == 0].mean(dim=0)
    length = difference.norm()
    if length == 0:
        raise ValueError(
            "features must differ between the classes, but both class means are the same point; "
            "pick another layer"
        )
    return difference / length


def discriminant(features: Tensor, w: Tensor) -> Tensor:
    """The linear score g(x) = w . Phi(x) of each picture.

    Args:
        features: Phi, `[N, D]`.
        w: `[D]`.

    Returns:
        g `[N]`; larger means more like class 1.

    Raises:
        ValueError: the lengths of w and of the features differ.
    """
    _check_features(features)
    if w.shape != features.shape[1:]:
        raise ValueError(
            f"w must have shape [{features.shape[1]}] like the features, got {list(w.shape)}; "
            "compute both from the same layer"
        )
    return features @ w


@dataclass(frozen=True)
class Sweep:
    """What happens at each threshold when score >= threshold is called class 1.

    Tensors `[T]`, on the CPU.
    """

    threshold: Tensor  # from +infinity downwards
    true_positive: Tensor
    false_positive: Tensor
    true_negative: Tensor
    false_negative: Tensor

    @property
    def true_positive_rate(self) -> Tensor:
        """Share of class 1 that is found."""
        return self.true_positive / (self.true_positive + self.false_negative).double()

    @property
    def false_positive_rate(self) -> Tensor:
        """Share of class 0 that is mistaken for class 1."""
        return self.false_positive / (self.false_positive + self.true_negative).double()

    @property
    def accuracy(self) -> Tensor:
        """Share of all pictures that is right."""
        right = self.true_positive + self.true_negative
        return right / (right + self.false_positive + self.false_negative).double()


def threshold_sweep(scores: Tensor, labels: Tensor, thresholds: Tensor | None = None) -> Sweep:
    """Count right and wrong answers at every threshold.

    Args:
        scores: `[N]`.
        labels: `[N]`, 0 or 1, both present.
        thresholds: `[T]`; by default the scores themselves, the only places where a count changes,
            with +infinity before them.

    Returns:
        A `Sweep`, thresholds falling, so that its rates rise.

    Raises:
        ValueError: shapes or labels do not fit, or a score is NaN.
    """
    scores, labels = _check_scores(scores, labels)
    if thresholds is None:
        thresholds = torch.cat([torch.tensor([torch.inf], dtype=torch.float64), scores.unique()])
    thresholds = torch.as_tensor(thresholds, dtype=torch.float64).cpu().sort(descending=True).values
    positive = scores[labels == 1].sort().values
    negative = scores[labels == 0].sort().values
    # searchsorted counts the scores below a threshold: those are called class 0.
    false_negative = torch.searchsorted(positive, thresholds)
    true_negative = torch.searchsorted(negative, thresholds)
    return Sweep(
        threshold=thresholds,
        true_positive=len(positive) - false_negative,
        false_positive=len(negative) - true_negative,
        true_negative=true_negative,
        false_negative=false_negative,
    )


def roc_auc(scores: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve: how often a picture of class 1 outscores one of class 0.

    Takes scores and labels as `threshold_sweep`, and refuses the same. Between 0 and 1; ties count
    one half.
    """
    sweep = threshold_sweep(scores, labels)
    return torch.trapezoid(sweep.true_positive_rate, sweep.false_positive_rate).item()


class ProbedClassifier(Classifier):
    """A network with logits (0, g(x) - threshold), read from one of its layers.

    The network runs whole, past the layer too, so that every block of it keeps its name and its
    place in the forward pass.
    """

    def __init__(
        self, backbone: Classifier, layer: str, w: Tensor, threshold: float, **about: object
    ):
        """Put w behind a layer of the backbone; see `attach_probe`."""
        super().__init__(backbone.network, **about)
        self.layer = layer
        with torch.inference_mode(False), torch.no_grad():
            self.head = nn.Linear(len(w), 1, device=w.device)
            self.head.weight.copy_(w[None])
            self.head.bias.fill_(-threshold)
        # Only what is new: the backbone is shared and keeps the modes it has.
        self.training = self.head.training = backbone.training

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[N, 2]`: 0 for the first class, g(x) - threshold for the second."""
        with recorded(self.network, [self.layer]) as outputs:
            self.network(images)
        phi = outputs[0].flatten(1).to(self.head.weight.dtype)  # [N, D]
        g = self.head(phi)  # [N, 1]
        return torch.cat([torch.zeros_like(g), g], dim=1)


def attach_probe(
    model: Classifier,
    w: Tensor,
    threshold: float,
    classes: Sequence[str],
    *,
    layer: str | None = None,
) -> ProbedClassifier:
    """The same network with the probe as its head, so that what explains networks explains probes.

    Args:
        model: the network that gave the features; it is not changed, and its weights are shared.
        w: `[D]`, the direction in the flattened features of `layer`.
        threshold: g(x) above it means the second class.
        classes: two names.
        layer: where the features were read; the last of `feature_layers(model)` by default.

    Returns:
        A two-class network with logits (0, g(x) - threshold).

    Raises:
        ValueError: not two classes, or w does not fit the layer.
    """
    if len(classes) != 2:
        raise ValueError(f"classes must be two names, got {list(classes)}")
    layer = feature_layers(model)[-1] if layer is None else layer
    n_features = features(model, any_image(model)[None].to(model.dtype), layer).shape[1]
    if list(w.shape) != [n_features]:
        raise ValueError(
            f"w must have shape [{n_features}], the flattened features of {layer!r}, got "
            f"{list(w.shape)}; name the layer that w was computed from with layer="
        )
    return ProbedClassifier(
        model,
        layer,
        w.to(model.device),
        float(threshold),
        name=f"{model.name} + probe",
        classes=classes,
        description=f"{model.name} with a linear probe for {' or '.join(classes)} behind {layer}",
        preprocessing=model.preprocessing,
    )


def leaf_classifier(model: Classifier, train: Leaves) -> Classifier:
    """A network that tells the leaves' classes: the model itself, or the probe of lab 1 behind it.

    Args:
        model: any network; one that has the leaves' classes already is returned as it is.
        train: the leaves from which the probe learns its direction and its threshold.

    Returns:
        A two-class network.
    """
    if model.classes == train.classes:
        return model
    phi = features(model, model.prepare_all(train.pictures), feature_layers(model)[-1])  # [N, D]
    w = mean_difference(phi, train.labels)  # [D]
    sweep = threshold_sweep(discriminant(phi, w), train.labels)
    best = sweep.threshold[sweep.accuracy.argmax()].item()
    return attach_probe(model, w, best, train.classes)


def _check_features(features: Tensor) -> None:
    if not isinstance(features, Tensor) or features.ndim != 2:
        got = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(
            f"features must have shape [N, D], got {got}; "
            "labkit.probe.features(model, images, layer) gives them"
        )


def _check_labels(labels: Tensor, n: int) -> Tensor:
    labels = torch.as_tensor(labels).cpu()
    if labels.shape != (n,):
        raise ValueError(f"labels must have shape [{n}], one a picture, got {list(labels.shape)}")
    if sorted(labels.unique().tolist()) != [0, 1]:
        raise ValueError(
            f"labels must be 0 and 1, both present, got {labels.unique().tolist()[:5]}; "
            "a direction or a curve needs pictures of both classes"
        )
    return labels


def _check_scores(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    scores = torch.as_tensor(scores, dtype=torch.float64).cpu()
    if scores.ndim != 1:
        raise ValueError(
            f"scores must have shape [N], got {list(scores.shape)}; use scores.flatten()"
        )
    if scores.isnan().any():
        raise ValueError("scores must be numbers, got NaN; look at the features they come from")
    return scores, _check_labels(labels, len(scores))
