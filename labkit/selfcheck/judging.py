"""How an answer is judged: ask every question, compare, and name the likely mistake.

Nothing here knows an answer. `judge` gets a `call` that asks the student's function; where that
function runs, in this process or in a sandbox, is up to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from labkit.selfcheck.exercise import CallFailed, Exercise, Mistake, Question, Value, answer
from labkit.selfcheck.networks import Network
from labkit.selfcheck.slips import slips

POINTLESS = ("missing", "time", "memory")  # after one of these, asking again is no use


class Reply(NamedTuple):
    """What the student's function made of one question."""

    question: Question
    expected: Value
    got: Value
    cause: str  # "" if right, else "wrong" or a CallFailed's cause
    text: str  # what is wrong, in a sentence


class Verdict(NamedTuple):
    """What all replies add up to."""

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
    questions = [one for one in exercise.questions(rng) if not (public and one.hidden)]
    replies = _ask_all(exercise, call, questions)
    wrong = {reply.question.part for reply in replies if reply.cause}
    parts = {part: part not in wrong for part in exercise.parts}
    points = sum(points for part, points in exercise.parts.items() if parts[part])
    points = points if parts["main"] else 0
    if not wrong:
        return Verdict(True, points, exercise.points, parts, (), (), replies)
    mistake = likely_mistake(exercise, replies) or ignored_argument(exercise, replies)
    if mistake is None:
        failed = [reply for reply in replies if reply.cause]
        causes = tuple(dict.fromkeys(reply.cause for reply in failed))
        messages = tuple(dict.fromkeys(_sentence(reply) for reply in failed))[:2]
    else:
        points = max(points, mistake.points)
        causes, messages = (mistake.name,), (mistake.hint,)
    return Verdict(False, points, exercise.points, parts, causes, messages, replies)


def likely_mistake(exercise: Exercise, replies: Sequence[Reply]) -> Mistake | None:
    """The mistake that gives what the student's function gave.

    Returns:
        A recorded mistake or a general slip that explains every reply. Failing that, a recorded
        mistake, worth no points, that explains all that are wrong. One must be wrong by its value.
    """
    failed = [reply for reply in replies if reply.cause]
    if not any(reply.cause == "wrong" for reply in failed):
        return None
    for mistake in (*exercise.mistakes, *slips(exercise, replies[0].question)):
        if all(_gives(exercise, mistake, reply) for reply in replies):
            return mistake
    for mistake in exercise.mistakes:
        if all(_gives(exercise, mistake, reply) for reply in failed):
            return mistake._replace(points=0)
    return None


def ignored_argument(exercise: Exercise, replies: Sequence[Reply]) -> Mistake | None:
    """The argument that should change an answer but does not, whatever else is wrong.

    Returns:
        A mistake worth no points, if two questions differ only in that argument. Questions by
        hand do not count: too much is 0 or 1 in them.
    """
    drawn = [reply for reply in replies if not reply.question.name.startswith("by hand")]
    for one, two in combinations([reply for reply in drawn if reply.got is not None], 2):
        name = _only_difference(one.question.inputs, two.question.inputs)
        if (
            name
            and _agree(exercise, one.got, two.got)
            and not _agree(exercise, one.expected, two.expected)
        ):
            hint = f"Your result stays the same when only `{name}` changes. Use `{name}`."
            return Mistake(f"{name} left out", hint, exercise.solve)
    return None


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
    """Whether the mistake leads to this reply, be it a value or an error of the same kind."""
    try:
        made = _own(mistake.wrong, exercise, reply.question)
    except Exception as error:
        return reply.cause == "error" and reply.text.startswith(type(error).__name__)
    return reply.cause != "error" and exercise.agree(reply.got, made, reply.question) is None


def _only_difference(one: Mapping[str, Value], two: Mapping[str, Value]) -> str | None:
    different = [name for name in one if not _same(one[name], two[name])]
    return different[0] if len(different) == 1 else None


def _same(one: Value, two: Value) -> bool:
    if isinstance(one, Network):
        return all(np.array_equal(one.weights[name], two.weights.get(name)) for name in one.weights)
    return np.array_equal(one, two)


def _agree(exercise: Exercise, one: Value, two: Value) -> bool:
    """Whether two answers are the same; what is no number agrees with nothing."""
    pairs = ((one, one), (two, two), (one, two))
    return all(exercise.agree(*pair, None) is None for pair in pairs)


def _sentence(reply: Reply) -> str:
    if reply.cause == "missing":
        return reply.text
    return f"In the case “{reply.question.name}”: {reply.text}"
