"""Slips that can happen in any exercise: a lost sign, a sum for a mean, an argument left out.

Each is a `Mistake` that makes its wrong answer from the right one; `judge` recognises it like any
other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from labkit.selfcheck.exercise import Exercise, Mistake, Question, Value

Made = tuple[str, str, Callable]  # a slip's name, its hint, and the function that makes it


def _softmax(values: Tensor) -> Tensor:
    return values.softmax(dim=1) if values.ndim == 2 else values


def _root(values: Tensor) -> Tensor:
    return values.clamp(min=0).sqrt()


def _transposed(values: Tensor) -> Tensor:
    return values.T if values.ndim == 2 else values


def _columns_reversed(values: Tensor) -> Tensor:
    return values.flip(1) if values.ndim == 2 else values


EXTRA = "The values are right, but they have one dimension too many. Remove dimensions of length 1."
CHANGED: tuple[Made, ...] = (  # what becomes of the right values
    (
        "opposite sign",
        "Your values have the opposite sign. Is a difference taken the wrong way round?",
        torch.neg,
    ),
    ("sign lost", "Negative values have become positive. Keep the sign.", torch.abs),
    ("negative values cut off", "You set negative values to 0. Keep them.", torch.relu),
    (
        "squared",
        "Your values are the squares of the right ones. Is a root missing, or one square too many?",
        torch.square,
    ),
    (
        "root",
        "Your values are the roots of the right ones. Is a square missing, or one root too many?",
        _root,
    ),
    (
        "one minus the value",
        "You return 1 minus the right value. Which of 0 and 1 means what?",
        lambda values: 1 - values,
    ),
    (
        "divided by the sum",
        "You divide by the sum of your values. Leave them as they are.",
        lambda values: values / values.sum(),
    ),
    (
        "divided by the maximum",
        "You divide by the largest value. Keep the raw values; figures do the scaling.",
        lambda values: values / values.max(),
    ),
    (
        "probabilities instead of logits",
        "You apply a softmax to the logits. Return the logits themselves.",
        _softmax,
    ),
    ("transposed", "The rows and columns of your result are swapped.", _transposed),
    ("columns in reverse order", "The columns are right, but in reverse order.", _columns_reversed),
    ("too many dimensions", EXTRA, lambda values: values[None]),
    ("too many dimensions", EXTRA, lambda values: values[..., None]),
    ("too many dimensions", EXTRA, lambda values: values[None, None]),
)
ENTERED: tuple[Made, ...] = (  # what becomes of an argument, {}
    ("{} squared", "You square `{}`. Use it as it is.", torch.square),
    ("root of {}", "You take the root of `{}`. Use it as it is.", _root),
    (
        "opposite sign of {}",
        "You use `{}` with the opposite sign or in the opposite order.",
        torch.neg,
    ),
    ("sign of {} lost", "You use the absolute value of `{}`. Keep its sign.", torch.abs),
    (
        "one over {}",
        "You multiply by `{}` where you should divide, or the other way round.",
        torch.reciprocal,
    ),
    ("one minus {}", "You use 1 - `{}`. Which of 0 and 1 means what?", lambda values: 1 - values),
)
RESCORED: tuple[Made, ...] = (  # what becomes of a network's logits, [N, K]
    (
        "softmax for logit",
        "You apply one softmax too many. A probability also moves when another class moves, and "
        "hardly at all where the network is sure. The score here comes before the softmax.",
        lambda logits: logits.softmax(dim=1),
    ),
    (
        "logarithm of the probability for logit",
        "You use the logarithm of the probability. It also moves when another class moves. The "
        "score here comes before the softmax.",
        lambda logits: logits.log_softmax(dim=1),
    ),
    (
        "loss for logit",
        "You use a loss. It falls where the score rises, and it mixes all classes.",
        lambda logits: -logits.log_softmax(dim=1),
    ),
    (
        "all classes at once",
        "You use the sum of all logits. Explain only the class `target`.",
        lambda logits: logits.sum(dim=1, keepdim=True).expand_as(logits),
    ),
)


def slips(exercise: Exercise, question: Question) -> Iterator[Mistake]:
    """The slips that an exercise's arguments allow.

    Args:
        exercise: one with a function; its `slips` say what a slip still earns.
        question: any of its questions, for the kinds of its arguments.
    """
    solve, inputs = exercise.solve, question.inputs
    for name, hint, wrong in (
        *((name, hint, partial(_changed, solve, change)) for name, hint, change in CHANGED),
        (
            "results swapped",
            "Your two results are right, but in the wrong order. Which of them comes first?",
            _swap_of(solve),
        ),
        *_of_networks(solve, inputs),
        *_of_pairs(solve, inputs),
        *(slip for one in inputs.items() for slip in _of_argument(solve, *one)),
        *(slip for one in inputs.items() for slip in _of_extents(solve, *one)),
    ):
        yield Mistake(name, hint, wrong, exercise.slips.get(name, 0))


def _changed(solve: Callable, change: Callable, /, **inputs: object) -> object:
    return _each(change, solve(**inputs))


def _each(change: Callable[[Tensor], Tensor], value: object) -> object:
    if isinstance(value, tuple | list):
        return tuple(_each(change, part) for part in value)
    return change(torch.as_tensor(value))


def _swap_of(solve: Callable) -> Callable:
    def swapped(**inputs: object) -> object:
        value = solve(**inputs)
        return value[::-1] if isinstance(value, tuple) and len(value) == 2 else value

    return swapped


# Another score of the network


def _of_networks(solve: Callable, inputs: Mapping[str, Value]) -> Iterator[Made]:
    for argument in [name for name in ("model", "head") if name in inputs]:
        for name, hint, change in RESCORED:
            yield name, hint, partial(_rescored, solve, argument, change)
        yield (
            "the winning class instead of the target",
            "You use the class with the largest score, whatever `target` says.",
            partial(_winning, solve, argument),
        )


def _rescored(solve: Callable, argument: str, change: Callable, /, **inputs: object) -> object:
    network = inputs[argument]
    return solve(**inputs | {argument: lambda images: change(network(images))})


def _winning(solve: Callable, argument: str, /, **inputs: object) -> object:
    """The logits in descending order, so that class 0 always wins."""
    descending = partial(torch.sort, dim=1, descending=True)
    inputs["target"] = 0
    return _rescored(solve, argument, lambda logits: descending(logits).values, **inputs)


# Two arguments swapped


def _of_pairs(solve: Callable, inputs: Mapping[str, Value]) -> Iterator[Made]:
    for one, other in combinations(inputs, 2):
        if _alike(inputs[one], inputs[other]):
            yield (
                f"{one} and {other} swapped",
                f"You use `{one}` where `{other}` belongs, and the other way round.",
                partial(_swapped, solve, one, other),
            )


def _alike(one: Value, other: Value) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return (one.shape, one.dtype) == (other.shape, other.dtype)
    return type(one) is type(other) and isinstance(one, int | float)


def _swapped(solve: Callable, one: str, other: str, /, **inputs: object) -> object:
    return solve(**inputs | {one: inputs[other], other: inputs[one]})


# One argument


def _of_argument(solve: Callable, argument: str, value: Value) -> Iterator[Made]:
    if isinstance(value, float) or getattr(value, "dtype", None) == np.float32:
        yield from _left_out(solve, argument, value)
        for name, hint, change in ENTERED:
            wrong = partial(_entered, solve, argument, change)
            yield name.format(argument), hint.format(argument), wrong
        yield (
            f"multiplied by {argument}",
            f"You multiply by `{argument}`. Leave this factor out.",
            partial(_multiplied, solve, argument),
        )
    elif isinstance(value, int):
        yield from _left_out(solve, argument, value)


def _of_extents(solve: Callable, argument: str, value: Value) -> Iterator[Made]:
    for extent, number in _extents(argument, value):
        yield (
            "sum instead of mean",
            f"Your result grows with {extent}. Should you take a mean instead of a sum?",
            partial(_scaled, solve, number, 1),
        )
        yield (
            "mean instead of sum",
            f"You divide by {extent}. Should you take a sum instead of a mean?",
            partial(_scaled, solve, number, -1),
        )


def _left_out(solve: Callable, argument: str, value: Value) -> Iterator[Made]:
    which = "every value is" if isinstance(value, np.ndarray) else f"`{argument}` is"
    for constant in (0, 1, 2):
        yield (
            f"{argument} left out",
            f"Your result does not depend on `{argument}`. It is right only if {which} {constant}.",
            partial(_with_constant, solve, argument, constant),
        )


def _with_constant(solve: Callable, argument: str, constant: int, /, **inputs: object) -> object:
    value = inputs[argument]
    always = torch.full_like(value, constant) if isinstance(value, Tensor) else constant
    return solve(**inputs | {argument: always})


def _entered(solve: Callable, argument: str, change: Callable, /, **inputs: object) -> object:
    value = inputs[argument]
    other = change(torch.as_tensor(value))
    return solve(**inputs | {argument: other if isinstance(value, Tensor) else other.item()})


def _multiplied(solve: Callable, argument: str, /, **inputs: object) -> object:
    factor = torch.as_tensor(inputs[argument])

    def times_argument(values: Tensor) -> Tensor:
        return values * factor if factor.shape in ((), values.shape) else values

    return _each(times_argument, solve(**inputs))


def _extents(argument: str, value: Value) -> Iterator[tuple[str, Callable]]:
    """What a sum over an argument's entries may have too much of, in words and as a function."""
    if type(value) is int and argument != "target":
        yield f"`{argument}`", lambda inputs: inputs[argument]
    if not isinstance(value, np.ndarray):
        return
    for axis in range(value.ndim):
        size = f"the size of dimension {axis} of" if value.ndim > 1 else "the length of"
        yield f"{size} `{argument}`", lambda inputs, axis=axis: inputs[argument].shape[axis]
    if value.ndim > 2:
        places = f"the number of places [h, w] in `{argument}`"
        yield places, lambda inputs: inputs[argument][0].numel()
    if value.ndim > 1:
        yield f"the number of values in `{argument}`", lambda inputs: inputs[argument].numel()


def _scaled(solve: Callable, number: Callable, power: int, /, **inputs: object) -> object:
    factor = float(number(inputs)) ** power
    return _each(lambda values: values * factor, solve(**inputs))
