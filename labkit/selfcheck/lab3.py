"""Lab 3: layers with the same output and a gradient that favours excitation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from labkit.selfcheck.cards import on_card
from labkit.selfcheck.exercise import Mistake, Question, Value, agree, normal, numbers

Rule = Callable[[Tensor, Tensor], Tensor]  # z and q to an output with the value z
Excited = Callable[[Tensor, float], Tensor]  # W and gamma to W'

# The weights


def biased_weight(W: Tensor, gamma: float) -> Tensor:
    """W' = W + gamma max(0, W)."""
    return W + gamma * W.clamp(min=0)


def _biased_weight_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = numbers([[3, -2.9], [0, 1]])
    return [
        Question("by hand: gamma 0.25", {"W": by_hand, "gamma": 0.25}),
        Question("gamma 0 changes nothing", {"W": by_hand, "gamma": 0.0}),
        Question("random weights", {"W": normal(rng, 4, 3), "gamma": 0.7}),
        Question(
            "a convolution's weights", {"W": normal(rng, 2, 3, 3, 3), "gamma": 2.0}, hidden=True
        ),
    ]


WRONG_WEIGHTS = {
    "no ReLU": (
        "All weights are scaled, also those that inhibit. Which part of `W` is to weigh more?",
        lambda W, gamma: W + gamma * W,
    ),
    "only the positive weights": (
        "The negative weights are gone. They are to stay as they are.",
        lambda W, gamma: (1 + gamma) * W.clamp(min=0),
    ),
    "absolute weights": (
        "Negative weights are changed too: by their size.",
        lambda W, gamma: W + gamma * W.abs(),
    ),
    "negative weights raised": (
        "It is inhibition that weighs more in your weights, and excitation that stays.",
        lambda W, gamma: W + gamma * W.clamp(max=0),
    ),
    "the addition alone": (
        "Only what is to be added came back; where is `W` itself?",
        lambda W, gamma: gamma * W.clamp(min=0),
    ),
}

BIASED_WEIGHT = on_card(
    "lab3.biased_weight",
    solve=biased_weight,
    questions=_biased_weight_questions,
    mistakes=(
        *(Mistake(name, hint, wrong) for name, (hint, wrong) in WRONG_WEIGHTS.items()),
        Mistake(
            "gamma left out",
            "Your weights do not depend on `gamma`.",
            lambda W, gamma: W + W.clamp(min=0),
        ),
    ),
)

# One layer: two outputs with the value z


def agree_layer(got: Value, expected: Value, question: Question) -> str | None:
    """Compare the output and the gradient of its sum with respect to the input."""
    (output, gradient), (wanted, wanted_gradient) = got, expected
    if text := agree(output, wanted, question):
        return f"the output: {text}"
    if gradient is None or wanted_gradient is None:
        return None if gradient is wanted_gradient else "no gradient reaches the input `a`"
    text = agree(gradient, wanted_gradient, question)
    return f"the output is right; its gradient: {text}" if text else None


def _ratio(z: Tensor, q: Tensor) -> Tensor:
    return q * (z / q).detach()


def _straight_through(z: Tensor, q: Tensor) -> Tensor:
    return z.detach() + q - q.detach()


def _layer(
    a: Tensor,
    W: Tensor,
    b: Tensor,
    gamma: float,
    *,
    rule: Rule,
    weight: Excited = biased_weight,
    bias: Excited = biased_weight,
) -> Tensor:
    return rule(W @ a + b, weight(W, gamma) @ a + bias(b, gamma))


def _layer_questions(rng: np.random.Generator) -> list[Question]:
    # z = 0.1 and q = 0.85; then z = (1.5, 4) and, for gamma 1, q = (4, 9)
    unit = {"a": numbers([1, 1]), "W": numbers([[3, -2.9]]), "b": numbers([0])}
    two = {"a": numbers([2, 1]), "W": numbers([[1, -1], [2, 1]]), "b": numbers([0.5, -1])}
    some = _well_conditioned(rng, gamma=0.25)
    return [
        Question("by hand: the unit of the lab", unit | {"gamma": 0.25}, gradient="a"),
        Question("by hand: two units with biases", two | {"gamma": 1.0}, gradient="a"),
        Question("gamma 0 gives the plain gradient", two | {"gamma": 0.0}, gradient="a"),
        Question("random weights", some | {"gamma": 0.25}, gradient="a"),
    ]


def _well_conditioned(rng: np.random.Generator, gamma: float) -> dict[str, np.ndarray]:
    """A layer behind a ReLU, without a q so small that rounding would show in z / q."""
    while True:
        layer = {"a": np.abs(normal(rng, 5)), "W": normal(rng, 4, 5), "b": normal(rng, 4)}
        a, W, b = (torch.from_numpy(array) for array in layer.values())
        if (biased_weight(W, gamma) @ a + biased_weight(b, gamma)).abs().min() > 0.2:
            return layer


def _of_layer(rule: Rule, known: Iterable[str]) -> tuple[Mistake, ...]:
    """What goes wrong under either rule; `known` are the wrong weights that show under this one."""
    return (
        *(
            Mistake(name, hint, partial(_layer, rule=rule, weight=wrong, bias=wrong), points=1)
            for name, (hint, wrong) in WRONG_WEIGHTS.items()
            if name in known
        ),
        Mistake(
            "q goes forward",
            "The output is that of the biased weights, so that the network's answer changes. The "
            "value must stay z; only the gradient is another.",
            partial(_layer, rule=lambda z, q: q),
            points=1,
        ),
        Mistake(
            "everything detached",
            "The output is right, but no gradient reaches the input: too much is held constant.",
            partial(_layer, rule=lambda z, q: z.detach()),
        ),
    )


def ratio_layer(a: Tensor, W: Tensor, b: Tensor, gamma: float) -> Tensor:
    """z, with the gradient of q times z / q."""
    return _layer(a, W, b, gamma, rule=_ratio)


RATIO_LAYER = on_card(
    "lab3.ratio_layer",
    solve=ratio_layer,
    questions=_layer_questions,
    agree=agree_layer,
    mistakes=(
        # All weights raised alike is the plain gradient again, see below.
        *_of_layer(_ratio, set(WRONG_WEIGHTS) - {"no ReLU"}),
        Mistake(
            "the bias left as it is",
            "Some libraries do it so, but here b' favours excitation like W'.",
            partial(_layer, rule=_ratio, bias=lambda b, gamma: b),
            points=2,
        ),
        Mistake(
            "the plain gradient",
            "The output is right, and the gradient is the plain one. Either nothing is held "
            "constant, and q cancels; or all weights are raised alike, and the ratio undoes it.",
            partial(_layer, rule=lambda z, q: q * (z / q)),
            points=1,
        ),
        Mistake(
            "q held constant instead of the ratio",
            "You detached the wrong factor: the gradient must flow through q.",
            partial(_layer, rule=lambda z, q: q.detach() * (z / q)),
            points=1,
        ),
        Mistake(
            "the straight-through rule",
            "That is the straight-through rule, the gradient of q as it is. Here it is scaled with "
            "the ratio of z and q.",
            partial(_layer, rule=_straight_through),
            points=1,
        ),
        Mistake(
            "the ratio upside down",
            "Multiply q with the ratio: is the result z? Which of the two stands above?",
            partial(_layer, rule=lambda z, q: q * (q / z).detach()),
            points=1,
        ),
    ),
)


def straight_through_layer(a: Tensor, W: Tensor, b: Tensor, gamma: float) -> Tensor:
    """z, with the gradient of q."""
    return _layer(a, W, b, gamma, rule=_straight_through)


STRAIGHT_THROUGH_LAYER = on_card(
    "lab3.straight_through_layer",
    solve=straight_through_layer,
    questions=_layer_questions,
    agree=agree_layer,
    mistakes=(
        *_of_layer(_straight_through, WRONG_WEIGHTS),
        Mistake(
            "the plain layer",
            "The output is right, and the gradient is that of z: where does q come in?",
            partial(_layer, rule=lambda z, q: z),
        ),
        Mistake(
            "z still on the graph",
            "The gradient is the sum of two, that of z and that of q. Which of them is not wanted?",
            partial(_layer, rule=lambda z, q: z + q - q.detach()),
            points=1,
        ),
        Mistake(
            "both copies of q on the graph",
            "Nothing of q's gradient is left: the two copies cancel, unless one is held constant.",
            partial(_layer, rule=lambda z, q: z.detach() + q - q),
            points=1,
        ),
        Mistake(
            "the ratio rule",
            "That is the rule of a later exercise. Here the gradient of q is not scaled.",
            partial(_layer, rule=_ratio),
            points=1,
        ),
    ),
)

# A ratio that stays finite


def stable_ratio(z: Tensor, q: Tensor, epsilon: float) -> Tensor:
    """The ratio with q led away from zero by epsilon; zero itself counts as positive."""
    return z / (q + torch.where(q >= 0, epsilon, -epsilon))


def _stable_ratio_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = {"z": numbers([1, -1, 1, 0, 2]), "q": numbers([2, 2, -2, 0, 0]), "epsilon": 0.5}
    at_minus_epsilon = {"z": numbers([1, 2]), "q": numbers([-0.25, 0.25]), "epsilon": 0.25}
    return [
        Question("by hand: q of both signs, and 0 / 0", by_hand),
        Question("q at minus epsilon", at_minus_epsilon),
        Question("random", {"z": normal(rng, 12), "q": normal(rng, 12), "epsilon": 0.125}),
    ]


STABLE_RATIO = on_card(
    "lab3.stable_ratio",
    solve=stable_ratio,
    questions=_stable_ratio_questions,
    mistakes=(
        Mistake(
            "no stabiliser",
            "0 / 0 is NaN, and one NaN spoils the gradient of the whole network.",
            lambda z, q, epsilon: z / q,
        ),
        Mistake(
            "epsilon always added",
            "For negative q your epsilon brings the denominator nearer to zero, even onto it. It "
            "must lead away from zero.",
            lambda z, q, epsilon: z / (q + epsilon),
            points=1,
        ),
        Mistake(
            "the sign of zero",
            "`sign` of 0 is 0, so that at q = 0 nothing is added. Which side should zero be on?",
            lambda z, q, epsilon: z / (q + epsilon * q.sign()),
            points=1,
        ),
        Mistake(
            "the sign of q lost",
            "The denominator is always positive: where q is negative the ratio must change its "
            "sign.",
            lambda z, q, epsilon: z / (q.abs() + epsilon),
            points=1,
        ),
        Mistake(
            "epsilon on top as well",
            "You add epsilon to z, too. 0 / 0 is to become 0.",
            lambda z, q, epsilon: (z + epsilon) / (q + torch.where(q >= 0, epsilon, -epsilon)),
            points=1,
        ),
        Mistake(
            "a smallest size for q",
            "You raise only those q that are smaller than epsilon. Here every |q| grows by it.",
            lambda z, q, epsilon: (
                z / torch.where(q >= 0, q.clamp(min=epsilon), q.clamp(max=-epsilon))
            ),
            points=1,
        ),
        Mistake(
            "NaN replaced afterwards",
            "0 / 0 is repaired, but 2 / 0 is still not a usable number, and the other values are "
            "not stabilised.",
            lambda z, q, epsilon: (z / q).nan_to_num(0, 0, 0),
        ),
    ),
)

# A network of two layers


def biased_gradient(
    x: Tensor,
    W1: Tensor,
    b1: Tensor,
    W2: Tensor,
    b2: Tensor,
    target: int,
    gamma: float,
    *,
    first: Callable[..., Tensor] | None = None,
    second: Callable[..., Tensor] = ratio_layer,
    score: Callable[[Tensor, int], Tensor] = lambda logits, target: logits[target],
    gate: Callable[[Tensor], Tensor] = torch.relu,
) -> Tensor:
    """The gradient of a logit, second layer biased; the settings exist to make mistakes with."""
    x = x.detach().clone().requires_grad_()
    z = first(x, W1, b1, gamma) if first else W1 @ x + b1
    logits = second(gate(z), W2, b2, gamma)
    (gradient,) = torch.autograd.grad(score(logits, target), x)
    return gradient


def _plain(a: Tensor, W: Tensor, b: Tensor, gamma: float) -> Tensor:
    return W @ a + b


def _biased_gradient_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = {
        "x": numbers([1, -1]),
        "W1": numbers([[1, 0], [0, -1], [0, 1]]),
        "b1": numbers([0, 0, 0]),
        "W2": numbers([[2, -1, 5], [-1, 2, 5]]),
        "b2": numbers([0, 0]),
    }
    some = _two_layers(rng)
    return [
        Question("by hand: class 0, gamma 1", by_hand | {"target": 0, "gamma": 1.0}),
        Question("gamma 0 gives the plain gradient", by_hand | {"target": 1, "gamma": 0.0}),
        *(
            Question(f"random weights, class {k}", some | {"target": k, "gamma": 0.5})
            for k in range(3)
        ),
    ]


def _two_layers(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A signed input and two layers, again without a q that is nearly zero."""
    while True:
        x, W1, b1 = normal(rng, 4), normal(rng, 6, 4), normal(rng, 6)
        W2, b2 = normal(rng, 3, 6), normal(rng, 3)
        a = np.maximum(W1 @ x + b1, 0)
        q1 = W1 @ x + b1 + 0.5 * (np.maximum(W1, 0) @ x + np.maximum(b1, 0))
        q2 = W2 @ a + b2 + 0.5 * (np.maximum(W2, 0) @ a + np.maximum(b2, 0))
        if min(np.abs(q1).min(), np.abs(q2).min()) > 0.1 and (a > 0).sum() >= 3:
            return {"x": x, "W1": W1, "b1": b1, "W2": W2, "b2": b2}


BIASED_GRADIENT = on_card(
    "lab3.biased_gradient",
    solve=biased_gradient,
    questions=_biased_gradient_questions,
    mistakes=(
        Mistake(
            "the first layer biased as well",
            "The first layer sees the image, which is signed: there z / q has no bound. Leave it "
            "as it is.",
            partial(biased_gradient, first=ratio_layer),
            points=2,
        ),
        Mistake(
            "the wrong layer biased",
            "You biased the first layer and left the second as it is.",
            partial(biased_gradient, first=ratio_layer, second=_plain),
            points=1,
        ),
        Mistake(
            "no layer biased",
            "That is the plain gradient.",
            partial(biased_gradient, second=_plain),
        ),
        Mistake(
            "the straight-through rule",
            "The ratio rule is wanted; you used the straight-through rule.",
            partial(biased_gradient, second=straight_through_layer),
            points=2,
        ),
        Mistake(
            "softmax for logit",
            "You differentiate the probability; the score is the logit.",
            partial(biased_gradient, score=lambda logits, target: logits.softmax(dim=0)[target]),
            points=2,
        ),
        Mistake(
            "all classes at once",
            "You differentiate the sum of all logits. One class is to be explained.",
            partial(biased_gradient, score=lambda logits, target: logits.sum()),
            points=1,
        ),
        Mistake(
            "no ReLU between the layers",
            "Between the two layers there is a ReLU: the second one sees no negative values.",
            partial(biased_gradient, gate=lambda z: z),
            points=1,
        ),
        Mistake(
            "gradient times input",
            "You multiply with the input. Wanted is the gradient alone.",
            lambda x, **others: x * biased_gradient(x, **others),
            points=2,
        ),
    ),
)

# Relevance


def layer_relevance(
    a: Tensor,
    W: Tensor,
    b: Tensor,
    R: Tensor,
    gamma: float,
    *,
    weight: Excited = biased_weight,
    times: Callable[[Tensor], Tensor] = lambda a: a,
    total: Callable[[Tensor, Tensor], Tensor] = lambda q, terms: q,
) -> Tensor:
    """LRP-gamma: R_j = sum_k a_j w'_kj / q_k R_k; the settings exist to make mistakes with."""
    W_biased = weight(W, gamma)
    q = W_biased @ a + biased_weight(b, gamma)
    terms = W_biased * a  # [K, J]
    return times(a) * (W_biased.T @ (R / total(q, terms)))


def _relevance_questions(rng: np.random.Generator) -> list[Question]:
    by_hand = {
        "a": numbers([2, 1]),
        "W": numbers([[1, -1], [2, 1]]),
        "b": numbers([0, 0]),
        "R": numbers([1, 4]),
    }
    some = _well_conditioned(rng, gamma=0.25) | {"R": normal(rng, 4)}
    return [
        Question("by hand: two units", by_hand | {"gamma": 1.0}),
        Question("by hand: an input that is zero", by_hand | {"a": numbers([0, 3]), "gamma": 0.0}),
        Question("random weights with biases", some | {"gamma": 0.25}),
    ]


LAYER_RELEVANCE = on_card(
    "lab3.layer_relevance",
    solve=layer_relevance,
    questions=_relevance_questions,
    mistakes=(
        *(
            Mistake(name, hint, partial(layer_relevance, weight=wrong), points=1)
            for name, (hint, wrong) in WRONG_WEIGHTS.items()
            if name != "the addition alone"
        ),
        Mistake(
            "weights that are not biased",
            "You share out by W, not by W'.",
            partial(layer_relevance, weight=lambda W, gamma: W),
            points=1,
        ),
        Mistake(
            "without the inputs",
            "An input that is zero contributes nothing, and gets relevance from you.",
            partial(layer_relevance, times=torch.ones_like),
            points=1,
        ),
        Mistake(
            "shares that are not divided by their sum",
            "Each unit hands out as much as it has; yours hand out more the larger q is.",
            partial(layer_relevance, total=lambda q, terms: torch.ones_like(q)),
            points=1,
        ),
        Mistake(
            "the bias left out of the sum",
            "q has a bias too, and so part of the relevance stays with it.",
            partial(layer_relevance, total=lambda q, terms: terms.sum(dim=1)),
            points=2,
        ),
        Mistake(
            "absolute shares",
            "You divide by the sum of absolute terms; the terms of q have signs.",
            partial(layer_relevance, total=lambda q, terms: terms.abs().sum(dim=1)),
            points=1,
        ),
    ),
)

EXERCISES = (
    BIASED_WEIGHT,
    STRAIGHT_THROUGH_LAYER,
    STABLE_RATIO,
    RATIO_LAYER,
    BIASED_GRADIENT,
    LAYER_RELEVANCE,
    on_card("lab3.q1"),
)
