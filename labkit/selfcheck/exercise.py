"""What an exercise is, how a student's function is asked, and how two answers are compared.

Nothing here knows an answer: in the grader's sandbox, this module runs beside the student's code.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from labkit.selfcheck.networks import Network

Value = np.ndarray | float | int | str | bool | None | Network | tuple | dict
RELATIVE = 1e-4  # of the largest value: float32, and any order of adding up
REAL = "biuf"  # numpy's letters for booleans, whole numbers and floating-point numbers


class Question(NamedTuple):
    """One question to the student's function."""

    name: str  # "worked by hand: two maps of 2 x 2"
    inputs: Mapping[str, Value]  # keyword arguments
    part: str = "main"  # the part of the exercise's points that it belongs to
    gradient: str = ""  # an input's name: also ask for the gradient of the output's sum
    hidden: bool = False  # asked by the grader only


class Mistake(NamedTuple):
    """A common mistake, known by the wrong answer it leads to."""

    name: str  # "median instead of mean"
    hint: str  # what the student reads; never the answer
    wrong: Callable  # makes exactly this mistake; same signature as the student's function
    points: int = 0  # what an answer with this one mistake still earns


def numbers(values: object) -> np.ndarray:
    """An array in the precision that students' functions get: float32."""
    return np.array(values, dtype=np.float32)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normally distributed numbers, float32."""
    return numbers(rng.normal(size=shape))


def agree(got: Value, expected: Value, question: Question | None = None) -> str | None:
    """Compare an output with what was expected, as far as float32 allows.

    Args:
        got: what the student's function returned.
        expected: what the exercise's own returned.
        question: not used here; an exercise's own comparison may need it.

    Returns:
        None if they agree, else what is wrong, in a sentence that does not give the answer away.
    """
    if isinstance(expected, tuple):
        return _agree_in_parts(got, expected, question)
    if got is None:
        return "got None; is a `return` missing at the end?"
    kind = type(got).__name__
    try:
        got = np.asarray(got)
    except ValueError:
        return f"expected numbers, got a {kind} with parts of different lengths"
    if got.dtype.kind not in REAL:
        return f"expected numbers, got a {kind}"
    got, expected = got.astype(float), np.asarray(expected, dtype=float)
    if got.shape != expected.shape:
        return f"expected the shape {list(expected.shape)}, got {list(got.shape)}"
    strange = ~np.isfinite(got) & np.isfinite(expected)
    if strange.any():
        return f"{strange.sum()} of {got.size} values are NaN or infinite"
    right = np.isclose(got, expected, rtol=0, atol=_tolerance(expected), equal_nan=True)
    return None if right.all() else _difference(got, expected, right)


class Exercise(NamedTuple):
    """A function to write, or a question to answer in words, with all that judging it needs."""

    name: str  # "lab4.fem"
    title: str  # its card's heading
    points: int  # what a right answer earns
    solve: Callable | None = None  # the right answer, same signature as the student's
    questions: Callable[[np.random.Generator], list[Question]] | None = None
    mistakes: tuple[Mistake, ...] = ()
    slips: Mapping[str, int] = {}  # what a general slip still earns, by the names of slips.py
    separate: Mapping[str, int] = {}  # of the points, those for parts other than "main"
    agree: Callable[[Value, Value, Question], str | None] = agree
    tensors: bool = True  # arrays go in as tensors

    @property
    def parts(self) -> dict[str, int]:
        """The points by part; "main" comes first, and no other counts without it."""
        return {"main": self.points - sum(self.separate.values()), **self.separate}

    @property
    def function(self) -> str | None:
        """The name that the student defines; None for a question in words."""
        return None if self.solve is None else self.name.split(".")[1]

    @property
    def lab(self) -> str:
        """The lab it belongs to: "lab4"."""
        return self.name.split(".")[0]

    @property
    def grade_id(self) -> str:
        """The name of its answer cell in the notebook: "lab4-fem"."""
        return self.name.replace(".", "-").replace("_", "-")


class CallFailed(Exception):
    """The student's function returned nothing.

    Attributes:
        cause: "missing" (not written yet), "error", "time", "memory", or a word of the grader's.
        text: what happened, in a sentence for the student.
    """

    def __init__(self, cause: str, text: str):
        super().__init__(cause, text)
        self.cause, self.text = cause, text


def answer(
    function: Callable, inputs: Mapping[str, Value], *, tensors: bool = True, gradient: str = ""
) -> Value:
    """Call a function with a question's inputs and bring its output back as data.

    Args:
        function: a student's, or an exercise's own.
        inputs: keyword arguments; arrays become tensors, networks are built.
        tensors: False leaves arrays as they are.
        gradient: an input; the gradient of the output's sum with respect to it is returned as well.

    Returns:
        The output; with gradient, also the gradient, None if no gradient reaches the input.

    Raises:
        CallFailed: the function changed one of its inputs.
    """
    arguments = {name: _argument(value, tensors) for name, value in inputs.items()}
    if gradient:
        arguments[gradient].requires_grad_()
    output = function(**arguments)
    for name, value in inputs.items():
        if isinstance(value, np.ndarray) and not np.array_equal(
            as_data(arguments[name]), value, equal_nan=value.dtype.kind == "f"
        ):
            raise CallFailed(
                "error", f"the argument `{name}` was changed in place; work on a copy of it"
            )
    if not gradient:
        return as_data(output)
    found = None
    if isinstance(output, Tensor) and output.requires_grad:
        (found,) = torch.autograd.grad(output.sum(), arguments[gradient], allow_unused=True)
    return as_data(output), as_data(found)


def asked_here(function: Callable, *, tensors: bool = True) -> Callable[[Question], Value]:
    """A `call` for `judge` that runs the function in this process."""

    def call(question: Question) -> Value:
        try:
            return answer(function, question.inputs, tensors=tensors, gradient=question.gradient)
        except CallFailed:
            raise
        except NotImplementedError:
            raise CallFailed("missing", "The function is not written yet.") from None
        except Exception as error:
            raise CallFailed("error", _where(error, function)) from error

    return call


def as_data(output: object) -> Value:
    """Tensors as arrays, lists as tuples, scalars as Python's; the rest as it is."""
    if isinstance(output, Tensor):
        return output.detach().cpu().numpy()
    if isinstance(output, np.generic):
        return output.item()
    if isinstance(output, list | tuple):
        return tuple(as_data(part) for part in output)
    return output


def _argument(value: Value, tensors: bool) -> object:
    if isinstance(value, Network):
        return value.build()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy()) if tensors else value.copy()
    return value


def _agree_in_parts(got: Value, expected: tuple, question: Question | None) -> str | None:
    if isinstance(got, np.ndarray) and got.ndim:
        got = tuple(got)  # one array with a row per value is fine
    if not isinstance(got, tuple) or len(got) != len(expected):
        came = f"{len(got)} values" if isinstance(got, tuple) else f"one {type(got).__name__}"
        return f"expected {len(expected)} values, got {came}"
    for place, (one, wanted) in enumerate(zip(got, expected, strict=True), start=1):
        if text := agree(one, wanted, question):
            return f"value {place} of {len(expected)}: {text}"
    return None


def _tolerance(expected: np.ndarray) -> float:
    finite = np.abs(expected[np.isfinite(expected)])
    return max(RELATIVE * finite.max(initial=0.0), 1e-7)


def _difference(got: np.ndarray, expected: np.ndarray, right: np.ndarray) -> str:
    """What is wrong, as far as the two arrays show it."""
    tolerance = _tolerance(expected)
    if np.allclose(got, -expected, rtol=0, atol=tolerance):
        return "the values have the opposite sign"
    if got.size > 1 and np.isfinite(expected).all() and (got * expected).sum() > 0:
        factor = (got * expected).sum() / (expected * expected).sum()
        if np.allclose(got, factor * expected, rtol=0, atol=abs(factor) * tolerance):
            return "the values are right except for a constant factor"
        if np.allclose(got - got.mean(), expected - expected.mean(), rtol=0, atol=tolerance):
            return "the values are right except for a constant offset"
    if got.size == 1:
        return "the value is wrong"
    return f"{(~right).sum()} of {right.size} values are wrong"


def _where(error: Exception, function: Callable) -> str:
    """The error, with the line of the student's function that raised it."""
    words = f"{type(error).__name__}: {error}"
    code = getattr(function, "__code__", None)
    lines = [
        frame.lineno - code.co_firstlineno + 1
        for frame in traceback.extract_tb(error.__traceback__)
        if code is not None and frame.filename == code.co_filename and frame.name == code.co_name
    ]
    return f"{words} (line {lines[-1]} of the function)" if lines else words
