"""What an exercise is, and how an answer is judged: the same for a student's check and the grader.

Nothing here knows an answer. `judge` gets a `call` that asks the student's function; where that
function runs, in this process or behind a sandbox, is the caller's affair.
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
POINTLESS = ("missing", "time", "memory")  # once one of these came, asking again is no use


class Question(NamedTuple):
    """One question to the student's function."""

    name: str  # "worked by hand: two maps of 2 x 2"
    inputs: Mapping[str, Value]  # keyword arguments
    part: str = "main"  # which of the exercise's points it belongs to
    gradient: str = ""  # an input's name: also ask for the gradient of the output's sum
    hidden: bool = False  # asked by the grader only


class Mistake(NamedTuple):
    """A common wrong answer, known by what it gives."""

    name: str  # "sum instead of mean"
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
        got: what the student's function gave.
        expected: what the exercise's own gave.
        question: not used; exercises with a comparison of their own may look at it.

    Returns:
        None where they agree, else what is wrong in a sentence that does not tell the answer.
    """
    if isinstance(expected, tuple):
        return _agree_in_parts(got, expected, question)
    if got is None:
        return "None came back; is there a `return` at the end?"
    kind = type(got).__name__
    try:
        got = np.asarray(got)
    except ValueError:
        return f"numbers are wanted, a {kind} of different lengths came back"
    if got.dtype.kind not in REAL:
        return f"numbers are wanted, a {kind} came back"
    got, expected = got.astype(float), np.asarray(expected, dtype=float)
    if got.shape != expected.shape:
        return f"the shape is {list(got.shape)}, wanted is {list(expected.shape)}"
    strange = ~np.isfinite(got) & np.isfinite(expected)
    if strange.any():
        return f"NaN or infinity in {strange.sum()} of {got.size} places"
    right = np.isclose(got, expected, rtol=0, atol=_tolerance(expected), equal_nan=True)
    return None if right.all() else _difference(got, expected, right)


class Exercise(NamedTuple):
    """A function to write, or a question to answer in words, with all that judging it needs."""

    name: str  # "lab4.fem"
    title: str  # its card's heading
    function: str | None  # the name that the student defines; None for a question in words
    parts: Mapping[str, int]  # points; "main" comes first, and no other counts without it
    minutes: int
    solve: Callable | None = None  # the right answer, same signature as the student's
    questions: Callable[[np.random.Generator], list[Question]] | None = None
    mistakes: tuple[Mistake, ...] = ()
    agree: Callable[[Value, Value, Question], str | None] = agree
    tensors: bool = True  # arrays go in as tensors

    @property
    def points(self) -> int:
        """What a right answer earns."""
        return sum(self.parts.values())

    @property
    def lab(self) -> str:
        """The lab it belongs to: "lab4"."""
        return self.name.split(".")[0]

    @property
    def grade_id(self) -> str:
        """The name of its answer cell in the notebook: "lab4-fem"."""
        return self.name.replace(".", "-").replace("_", "-")


class CallFailed(Exception):
    """The student's function gave nothing back.

    Attributes:
        cause: "missing" (not written yet), "error", "time", "memory", or a word of the grader's.
        text: what happened, in a sentence for the student.
    """

    def __init__(self, cause: str, text: str):
        super().__init__(cause, text)
        self.cause, self.text = cause, text


class Reply(NamedTuple):
    """What came of one question."""

    question: Question
    expected: Value
    got: Value
    cause: str  # "" where right, else "wrong" or a CallFailed's cause
    text: str  # what is wrong, in a sentence


class Verdict(NamedTuple):
    """What came of all questions."""

    passed: bool
    points: int
    possible: int
    parts: Mapping[str, bool]  # which of the exercise's parts are right
    causes: tuple[str, ...]  # names of recognised mistakes, else the replies' causes
    messages: tuple[str, ...]  # hints for the student
    replies: tuple[Reply, ...]


def judge(
    exercise: Exercise,
    call: Callable[[Question], Value],
    rng: np.random.Generator,
    *,
    public: bool = False,
) -> Verdict:
    """Ask every question, compare, and name the likely mistake.

    Args:
        exercise: one with a function.
        call: answers a question with the student's output, as data, or raises `CallFailed`.
        rng: draws the inputs.
        public: leave out the questions that only the grader asks.

    Returns:
        The points are those of the parts that are right, or of the one mistake that explains all.
    """
    questions = [
        question for question in exercise.questions(rng) if not (public and question.hidden)
    ]
    replies = _ask_all(exercise, call, questions)
    wrong = {reply.question.part for reply in replies if reply.cause}
    parts = {part: part not in wrong for part in exercise.parts}
    points = sum(points for part, points in exercise.parts.items() if parts[part])
    points = points if parts["main"] else 0
    if not wrong:
        return Verdict(True, points, exercise.points, parts, (), (), replies)
    mistake, whole = likely_mistake(exercise, replies)
    if mistake is None:
        failed = [reply for reply in replies if reply.cause]
        causes = tuple(dict.fromkeys(reply.cause for reply in failed))
        messages = tuple(dict.fromkeys(_sentence(reply) for reply in failed))[:2]
    else:
        points = max(points, mistake.points if whole else 0)
        causes, messages = (mistake.name,), (mistake.hint,)
    return Verdict(False, points, exercise.points, parts, causes, messages, replies)


def likely_mistake(exercise: Exercise, replies: tuple[Reply, ...]) -> tuple[Mistake | None, bool]:
    """The recorded mistake that gives what the student's function gave.

    Returns:
        The mistake and whether it explains every reply; or one that explains all that are wrong,
        at least one of which must be a value; or None.
    """
    failed = tuple(reply for reply in replies if reply.cause)
    if not any(reply.cause == "wrong" for reply in failed):
        return None, False
    for explained in (replies, failed):
        for mistake in exercise.mistakes:
            if all(_gives(exercise, mistake, reply) for reply in explained):
                return mistake, explained is replies
    return None, False


def answer(
    function: Callable, inputs: Mapping[str, Value], *, tensors: bool = True, gradient: str = ""
) -> Value:
    """Call a function with a question's inputs and bring its output back as data.

    Args:
        function: a student's, or an exercise's own.
        inputs: keyword arguments; arrays become tensors, networks are built.
        tensors: False leaves arrays as they are.
        gradient: the input for which the gradient of the output's sum is wanted as well.

    Returns:
        The output; with gradient, the output and the gradient (None where nothing leads there).

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


def asked_here(exercise: Exercise, function: Callable) -> Callable[[Question], Value]:
    """A `call` for `judge` that runs the function in this process."""

    def call(question: Question) -> Value:
        try:
            return answer(
                function, question.inputs, tensors=exercise.tensors, gradient=question.gradient
            )
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


def _ask_all(
    exercise: Exercise, call: Callable[[Question], Value], questions: list[Question]
) -> tuple[Reply, ...]:
    replies: list[Reply] = []
    for question in questions:
        expected = _own(exercise.solve, exercise, question)
        if replies and replies[-1].cause in POINTLESS:
            replies.append(replies[-1]._replace(question=question, expected=expected))
            continue
        try:
            got = call(question)
        except CallFailed as failure:
            replies.append(Reply(question, expected, None, failure.cause, failure.text))
            continue
        text = exercise.agree(got, expected, question)
        replies.append(Reply(question, expected, got, "wrong" if text else "", text or ""))
    return tuple(replies)


def _own(function: Callable, exercise: Exercise, question: Question) -> Value:
    return answer(function, question.inputs, tensors=exercise.tensors, gradient=question.gradient)


def _gives(exercise: Exercise, mistake: Mistake, reply: Reply) -> bool:
    """Whether the mistake leads to what came, be it a value or an error of the same kind."""
    try:
        made = _own(mistake.wrong, exercise, reply.question)
    except Exception as error:
        return reply.cause == "error" and reply.text.startswith(type(error).__name__)
    return reply.cause != "error" and exercise.agree(reply.got, made, reply.question) is None


def _sentence(reply: Reply) -> str:
    if reply.cause == "missing":
        return reply.text
    return f"In the case “{reply.question.name}”: {reply.text}"


def _agree_in_parts(got: Value, expected: tuple, question: Question | None) -> str | None:
    if isinstance(got, np.ndarray) and got.ndim:
        got = tuple(got)  # one array with a row for each value will do
    if not isinstance(got, tuple) or len(got) != len(expected):
        came = f"{len(got)} values" if isinstance(got, tuple) else f"one {type(got).__name__}"
        return f"{len(expected)} values are wanted, {came} came back"
    for place, (one, wanted) in enumerate(zip(got, expected, strict=True), start=1):
        if text := agree(one, wanted, question):
            return f"value {place} of {len(expected)}: {text}"
    return None


def _tolerance(expected: np.ndarray) -> float:
    finite = np.abs(expected[np.isfinite(expected)])
    return max(RELATIVE * finite.max(initial=0.0), 1e-7)


def _difference(got: np.ndarray, expected: np.ndarray, right: np.ndarray) -> str:
    """What kind of wrong it is, as far as the two arrays themselves show it."""
    tolerance = _tolerance(expected)
    if np.allclose(got, -expected, rtol=0, atol=tolerance):
        return "the values have the opposite sign"
    if got.size > 1 and np.isfinite(expected).all() and (got * expected).sum() > 0:
        factor = (got * expected).sum() / (expected * expected).sum()
        if np.allclose(got, factor * expected, rtol=0, atol=abs(factor) * tolerance):
            return "the values are right but for one common factor"
        if np.allclose(got - got.mean(), expected - expected.mean(), rtol=0, atol=tolerance):
            return "the values are right but for one common summand"
    if got.size == 1:
        return "the value is not right"
    return f"{(~right).sum()} of {right.size} values are not right"


def _where(error: Exception, function: Callable) -> str:
    """The error, with the line of the student's function in which it arose."""
    words = f"{type(error).__name__}: {error}"
    code = getattr(function, "__code__", None)
    lines = [
        frame.lineno - code.co_firstlineno + 1
        for frame in traceback.extract_tb(error.__traceback__)
        if code is not None and frame.filename == code.co_filename and frame.name == code.co_name
    ]
    return f"{words} (line {lines[-1]} of the function)" if lines else words
