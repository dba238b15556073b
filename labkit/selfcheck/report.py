"""What a student sees of a check: hints, never an answer, and never a promise of full marks."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labkit.selfcheck import lab1, lab2, lab3, lab4, lab5, lab6, lab7
from labkit.selfcheck.exercise import Exercise, asked_here
from labkit.selfcheck.judging import Verdict, judge

LABS = {
    "lab1": lab1,
    "lab2": lab2,
    "lab3": lab3,
    "lab4": lab4,
    "lab5": lab5,
    "lab6": lab6,
    "lab7": lab7,
}


@dataclass(frozen=True)
class Report:
    """Shown below the cell that called `check`."""

    passed: bool
    headline: str
    lines: tuple[str, ...]

    def __repr__(self) -> str:
        return "\n".join([self.headline, *(f"- {line}" for line in self.lines)])

    def _repr_html_(self) -> str:
        colour = "#0b6e4f" if self.passed else "#b34700"
        lines = "".join(f"<li>{inline(line)}</li>" for line in self.lines)
        return (
            f'<div role="status" style="border-left: 4px solid {colour}; padding-left: 0.8em">'
            f"<strong>{inline(self.headline)}</strong><ul>{lines}</ul></div>"
        )


def exercises(lab: str) -> tuple[Exercise, ...]:
    """The exercises of a lab, in the order of its notebook.

    Args:
        lab: "lab1" to "lab7".

    Raises:
        ValueError: there is no such lab.
    """
    if lab not in LABS:
        raise ValueError(f"lab must be one of {', '.join(LABS)}, got {lab!r}")
    return LABS[lab].EXERCISES


def exercise(name: str) -> Exercise:
    """One exercise by its name, such as "lab4.fem".

    Raises:
        ValueError: there is no such exercise.
    """
    found = {one.name: one for one in exercises(name.split(".")[0])}
    if name not in found:
        raise ValueError(f"name must be one of {', '.join(found)}, got {name!r}")
    return found[name]


def check(name: str, function: Callable, *, seed: int = 0) -> Report:
    """Compare a function of yours with values worked by hand and on small random inputs.

    Args:
        name: the exercise's name, such as "lab4.fem".
        function: your function.
        seed: which random inputs.

    Returns:
        What to look at; a notebook shows it below the cell.

    Raises:
        ValueError: there is no such exercise, or it is a question in words.
        TypeError: function is not a function.
    """
    asked = _with_function(name, function)
    rng = np.random.default_rng(seed)
    verdict = judge(asked, asked_here(function), rng, public=True)
    if verdict.passed:
        return Report(True, f"{name}: All public checks passed.", (_still_open(asked),))
    return Report(False, f"{name}: not yet.", _advice(verdict))


def score(name: str, function: Callable, *, seed: int = 1) -> int:
    """The points of a function, hidden questions included; nbgrader's test cells call it.

    Args:
        name: the exercise's name.
        function: a student's.
        seed: which random inputs; others than those of `check`.
    """
    asked = _with_function(name, function)
    return judge(asked, asked_here(function), np.random.default_rng(seed)).points


def _with_function(name: str, function: Callable) -> Exercise:
    asked = exercise(name)
    if asked.function is None:
        raise ValueError(f"{name} is a question in words, which a person reads; nothing to check")
    if not callable(function):
        raise TypeError(
            f"function must be your function, got {type(function).__name__}; "
            f"pass it without brackets: check({name!r}, {asked.function})"
        )
    return asked


def _advice(verdict: Verdict) -> tuple[str, ...]:
    recognised = not any(reply.cause == verdict.causes[0] for reply in verdict.replies)
    if recognised:
        return (f"Likely mistake: {verdict.causes[0]}.", *verdict.messages)
    return verdict.messages


def _still_open(asked: Exercise) -> str:
    words = [f"“{one.title}”" for one in exercises(asked.lab) if one.function is None]
    return (
        "Still open: the grader's own checks, on other inputs, and what is answered in words: "
        f"{' and '.join(words)}."
    )


def inline(text: str) -> str:
    """HTML of a line of text: escaped, with `code` between backticks."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))
