"""Checks for the exercises: they compare with values worked by hand and name the likely mistake."""

from labkit.selfcheck.exercise import Exercise
from labkit.selfcheck.judging import judge
from labkit.selfcheck.report import check, exercise, exercises, score

__all__ = ["Exercise", "check", "exercise", "exercises", "judge", "score"]
