"""The result of a submission, as data, and the folder in which it is kept.

One JSON for each submission and bundle of checks, named after both, written whole or not at all:
whatever happens to a batch, what is finished is finished, and the same call goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit.files import write_atomically

# Causes of lost points that name no mistake.
CAUSES = {
    "wrong": "not right",
    "missing": "not written, or not found",
    "error": "an error in the function, or in the cell that defines it",
    "time": "out of time",
    "memory": "out of memory",
    "processes": "too many processes",
    "disk": "wrote too much",
    "crash": "brought Python down",
    "unreadable": "the file is no notebook that can be read",
    "grader": "the checks themselves failed; look at it yourself",
}


@dataclass(frozen=True)
class ExerciseResult:
    """The result of an exercise with a function.

    Attributes:
        name: the exercise's, "lab4.fem".
        points: earned; None where the checks themselves failed.
        possible: what a right answer earns.
        causes: of lost points: names of recognised mistakes, or keys of CAUSES.
        messages: what the student reads: hints, never an answer.
        fingerprint: of the checks that it was graded with.
    """

    name: str
    points: int | None
    possible: int
    causes: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    fingerprint: str = ""


@dataclass(frozen=True)
class SubmissionResult:
    """The result of a submission; who handed it in is not part of it.

    Attributes:
        submission: sha256 of the file.
        bundle: sha256 of what it was graded with.
        sandboxed: whether its code ran in a sandbox.
        exercises: those with a function, in the notebook's order.
        words: by exercise, what was answered in words.
        notes: what was out of the ordinary about the notebook.
        seconds: that grading took.
    """

    submission: str
    bundle: str
    sandboxed: bool
    exercises: tuple[ExerciseResult, ...]
    words: Mapping[str, str]
    notes: tuple[str, ...]
    seconds: float

    def as_json(self) -> str:
        """As a text that `SubmissionResult.read` reads."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @staticmethod
    def read(text: str) -> SubmissionResult:
        """The result that `as_json` wrote."""
        fields = json.loads(text)
        exercises = tuple(
            ExerciseResult(
                **{**one, "causes": tuple(one["causes"]), "messages": tuple(one["messages"])}
            )
            for one in fields.pop("exercises")
        )
        return SubmissionResult(
            **{**fields, "exercises": exercises, "notes": tuple(fields["notes"])}
        )


def result_file(out: Path, submission: str, bundle: str) -> Path:
    """Where a result is kept."""
    return out / "results" / f"{submission[:20]}-{bundle[:20]}.json"


def keep(out: Path, result: SubmissionResult) -> None:
    """Write a result, whole or not at all."""
    path = result_file(out, result.submission, result.bundle)
    write_atomically(path, result.as_json().encode("utf-8"))


def load(out: Path, submission: str, bundle: str) -> SubmissionResult | None:
    """The result of a submission graded with a bundle; None where there is none."""
    path = result_file(out, submission, bundle)
    return SubmissionResult.read(path.read_text(encoding="utf-8")) if path.is_file() else None
