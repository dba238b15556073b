"""Lab 3: layers with the same output and a gradient that favours excitation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from labkit.selfcheck.cards import on_card
from labkit.selfcheck.exercise import Question, Value, agree, normal, numbers

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
        "You scale all weights, also the negative ones. Which part of `W` should grow?",
        lambda W, gamma: W + gamma * W,
    ),
    "only the positive weights": (
        "The negative weights are gone. Keep them as they are.",
        lambda W, gamma: (1 + gamma) * W.clamp(min=0),
    ),
    "absolute weights": (
        "You also change the negative weights. Keep them as they are.",
        lambda W, gamma: W + gamma * W.abs(),
    ),
    "negative weights raised": (
        "You raise the negative weights. Raise the positive weights instead.",
        lambda W, gamma: W + gamma * W.clamp(max=0),
    ),
    "the addition alone": (
        "You return only the term that is added. Add it to `W`.",
        lambda W, gamma: gamma * W.clamp(min=0),
    ),
}

BIASED_WEIGHT = on_card(
    "lab3.biased_weight",
    solve=biased_weight,
    questions=_biased_weight_questions,
    mistakes={0: WRONG_WEIGHTS},
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


def _z_and_q(a: Tensor, W: Tensor, b: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    return W @ a + b, biased_weight(W, gamma) @ a + biased_weight(b, gamma)


def _ruled(rule: Rule) -> Callable[..., Tensor]:
    """A layer under another rule."""
    return lambda a, W, b, gamma: rule(*_z_and_q(a, W, b, gamma))


def _weighted(rule: Rule, weight: Excited, bias: Excited) -> Callable[..., Tensor]:
    """A layer whose q has other weights and biases."""
    return lambda a, W, b, gamma: rule(W @ a + b, weight(W, gamma) @ a + bias(b, gamma))


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


def _of_weights(made: Callable[[Excited], Callable], without: str = "") -> dict[str, tuple]:
    """The wrong weights in a function that uses them, all but one."""
    return {
        name: (hint, made(wrong))
        for name, (hint, wrong) in WRONG_WEIGHTS.items()
        if name != without
    }


Q_FORWARD = {
    "q goes forward": (
        "You return the output of the biased weights, which changes the network's answer. The "
        "value must stay z; only the gradient changes.",
        _ruled(lambda z, q: q),
    )
}
DETACHED = {
    "everything detached": (
        "The output is right, but no gradient reaches the input. You detach too much.",
        _ruled(lambda z, q: z.detach()),
    )
}


def ratio_layer(a: Tensor, W: Tensor, b: Tensor, gamma: float) -> Tensor:
    """z, with the gradient of q times z / q."""
    return _ratio(*_z_and_q(a, W, b, gamma))


RATIO_LAYER = on_card(
    "lab3.ratio_layer",
    solve=ratio_layer,
    questions=_layer_questions,
    agree=agree_layer,
    mistakes={
        2: {
            "the bias left as it is": (
                "Some libraries leave the bias as it is. Here, b' favours excitation as W' does.",
                _weighted(_ratio, biased_weight, lambda b, gamma: b),
            ),
        },
        1: {
            # All weights raised alike is the plain gradient again, see below.
            **_of_weights(lambda wrong: _weighted(_ratio, wrong, wrong), without="no ReLU"),
            **Q_FORWARD,
            "the plain gradient": (
                "The output is right, but the gradient is the plain one. Either nothing is "
                "detached, or all weights are raised alike; then q cancels.",
                _ruled(lambda z, q: q * (z / q)),
            ),
            "q held constant instead of the ratio": (
                "You detached the wrong factor. The gradient must flow through q.",
                _ruled(lambda z, q: q.detach() * (z / q)),
            ),
            "the straight-through rule": (
                "That is the straight-through rule. Here the gradient of q is scaled by z / q.",
                _ruled(_straight_through),
            ),
            "the ratio upside down": (
                "Multiply q by your ratio: is the result z? Which of the two is the numerator?",
                _ruled(lambda z, q: q * (q / z).detach()),
            ),
        },
        0: DETACHED,
    },
)


def straight_through_layer(a: Tensor, W: Tensor, b: Tensor, gamma: float) -> Tensor:
    """z, with the gradient of q."""
    return _straight_through(*_z_and_q(a, W, b, gamma))


STRAIGHT_THROUGH_LAYER = on_card(
    "lab3.straight_through_layer",
    solve=straight_through_layer,
    questions=_layer_questions,
    agree=agree_layer,
    mistakes={
        1: {
            **_of_weights(lambda wrong: _weighted(_straight_through, wrong, wrong)),
            **Q_FORWARD,
            "z still on the graph": (
                "Your gradient is the sum of the gradients of z and q. Only one of them should "
                "remain.",
                _ruled(lambda z, q: z + q - q.detach()),
            ),
            "both copies of q on the graph": (
                "The gradient of q is lost: its two copies cancel. Detach one of them.",
                _ruled(lambda z, q: z.detach() + q - q),
            ),
            "the ratio rule": (
                "That is the rule of a later exercise. Here the gradient of q is not scaled.",
                _ruled(_ratio),
            ),
        },
        0: {
            **DETACHED,
            "the plain layer": (
                "The output is right, but the gradient is that of z. Use the gradient of q.",
                _ruled(lambda z, q: z),
            ),
        },
    },
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
    slips={"sign of q lost": 1},
    mistakes={
        1: {
            "epsilon always added": (
                "For negative q, your epsilon moves the denominator towards zero. It must move it "
                "away from zero.",
                lambda z, q, epsilon: z / (q + epsilon),
            ),
            "the sign of zero": (
                "`sign` of 0 is 0, so you add nothing at q = 0. Which sign should 0 get?",
                lambda z, q, epsilon: z / (q + epsilon * q.sign()),
            ),
            "epsilon on top as well": (
                "You also add epsilon to z. Then 0 / 0 does not become 0.",
                lambda z, q, epsilon: (z + epsilon) / (q + torch.where(q >= 0, epsilon, -epsilon)),
            ),
            "a smallest size for q": (
                "You change only those |q| that are smaller than epsilon. Here every |q| grows by "
                "epsilon.",
                lambda z, q, epsilon: (
                    z / torch.where(q >= 0, q.clamp(min=epsilon), q.clamp(max=-epsilon))
                ),
            ),
        },
        0: {
            "no stabiliser": (
                "0 / 0 is NaN, and one NaN makes the gradient of the whole network NaN.",
                lambda z, q, epsilon: z / q,
            ),
            "NaN replaced afterwards": (
                "You repair only values that are not finite. The other values are not stabilised.",
                lambda z, q, epsilon: (z / q).nan_to_num(0, 0, 0),
            ),
        },
    },
)

# A network of two layers


def _logits(x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor, gamma: float) -> Tensor:
    return ratio_layer(torch.relu(W1 @ x + b1), W2, b2, gamma)


def biased_gradient(
    x: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor, target: int, gamma: float
) -> Tensor:
    """The gradient of a logit whose last layer follows the ratio rule."""
    x = x.detach().clone().requires_grad_()
    logits = _logits(x, W1, b1, W2, b2, gamma)
    (gradient,) = torch.autograd.grad(logits[target], x)
    return gradient


def _gradient_of(output: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A wrong `biased_gradient`: that of another output of the layers."""

    def wrong(x: Tensor, target: int, **layers: object) -> Tensor:
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(output(x, **layers)[target], x)[0]

    return wrong


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
    slips={"multiplied by x": 2},
    mistakes={
        2: {
            "the first layer biased as well": (
                "You biased the first layer too. It sees the signed image, where z / q has no "
                "bound; leave it as it is.",
                _gradient_of(
                    lambda x, W1, b1, W2, b2, gamma: ratio_layer(
                        torch.relu(ratio_layer(x, W1, b1, gamma)), W2, b2, gamma
                    )
                ),
            ),
            "the straight-through rule": (
                "You used the straight-through rule. Use the ratio rule.",
                _gradient_of(
                    lambda x, W1, b1, W2, b2, gamma: straight_through_layer(
                        torch.relu(W1 @ x + b1), W2, b2, gamma
                    )
                ),
            ),
            "softmax for logit": (
                "You differentiate the probability; the score is the logit.",
                _gradient_of(lambda x, **layers: _logits(x, **layers).softmax(dim=0)),
            ),
        },
        1: {
            "the wrong layer biased": (
                "You biased the first layer and left the second as it is.",
                _gradient_of(
                    lambda x, W1, b1, W2, b2, gamma: (
                        W2 @ torch.relu(ratio_layer(x, W1, b1, gamma)) + b2
                    )
                ),
            ),
            "all classes at once": (
                "You differentiate the sum of all logits. Explain only the class `target`.",
                _gradient_of(
                    lambda x, **layers: _logits(x, **layers).sum().expand(len(layers["b2"]))
                ),
            ),
            "no ReLU between the layers": (
                "The ReLU between the two layers is missing.",
                _gradient_of(
                    lambda x, W1, b1, W2, b2, gamma: ratio_layer(W1 @ x + b1, W2, b2, gamma)
                ),
            ),
        },
    },
)

# Relevance


def layer_relevance(a: Tensor, W: Tensor, b: Tensor, R: Tensor, gamma: float) -> Tensor:
    """LRP-gamma: R_j = a_j sum_k w'_kj R_k / q_k."""
    _, q = _z_and_q(a, W, b, gamma)
    return a * (biased_weight(W, gamma).T @ (R / q))


def _shared_by(weight: Excited) -> Callable[..., Tensor]:
    """A wrong `layer_relevance` with other weights."""

    def wrong(a: Tensor, W: Tensor, b: Tensor, R: Tensor, gamma: float) -> Tensor:
        W_biased = weight(W, gamma)
        return a * (W_biased.T @ (R / (W_biased @ a + biased_weight(b, gamma))))

    return wrong


def _absolute_shares(a: Tensor, W: Tensor, b: Tensor, R: Tensor, gamma: float) -> Tensor:
    terms = biased_weight(W, gamma) * a  # [K, J]
    return terms.T @ (R / terms.abs().sum(dim=1))


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
    slips={"b left out": 2},
    mistakes={
        1: {
            **_of_weights(_shared_by, without="the addition alone"),
            "weights that are not biased": (
                "You share out the relevance by W. Use W'.",
                _shared_by(lambda W, gamma: W),
            ),
            "without the inputs": (
                "In your result, an input of zero gets relevance. It contributes nothing, so it "
                "should get none.",
                lambda a, W, b, R, gamma: (
                    biased_weight(W, gamma).T @ (R / _z_and_q(a, W, b, gamma)[1])
                ),
            ),
            "shares that are not divided by their sum": (
                "Each unit hands out exactly its relevance. Divide the shares by their sum, q.",
                lambda a, W, b, R, gamma: a * (biased_weight(W, gamma).T @ R),
            ),
            "absolute shares": (
                "You divide by the sum of absolute terms. Keep the signs of the terms of q.",
                _absolute_shares,
            ),
        },
    },
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
