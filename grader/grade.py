"""One submission, graded: `grade_one(submission, bundle)` writes nothing and knows no student.

The student's functions run in a kernel (`grader.kernel`); inputs are drawn here, from the
submission's own hash, and what comes back is compared here. What a cell or a function brings down
costs its own exercise: in a fresh kernel, the other cells run again.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import CodeType, FunctionType
from typing import NamedTuple

import numpy as np

from grader.kernel import Kernel, KernelGone
from grader.matching import Matched, as_json, match
from grader.results import ExerciseResult, SubmissionResult
from grader.sandbox import Limits, NoKernel
from labkit.cells import Cell, defines, read_notebook
from labkit.selfcheck.exercise import CallFailed, Exercise, Question, Value
from labkit.selfcheck.judging import judge

ENGINE = 1  # raise it when the same submission would be graded differently


class Submission(NamedTuple):
    """A handed-in notebook.

    Attributes:
        student: whoever handed it in; no grade depends on it.
        content: the file.
        notes: on how it was found, for student and instructor.
    """

    student: str
    content: bytes
    notes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """sha256 of the file."""
        return hashlib.sha256(self.content).hexdigest()


class Seconds(NamedTuple):
    """How long a cell, all questions of an exercise, and a notebook may take."""

    cell: float = 30.0
    exercise: float = 30.0
    submission: float = 300.0


@dataclass(frozen=True)
class Bundle:
    """All that a submission is graded with, apart from its student's code.

    Attributes:
        checks: the module that has the lab's `EXERCISES`.
        release: the notebook that was handed out.
        seconds: how long things may take.
        limits: what a sandbox may use.
        sandboxed: whether there is one.
    """

    checks: str
    release: bytes = field(repr=False)
    seconds: Seconds = Seconds()
    limits: Limits = Limits()
    sandboxed: bool = True

    @cached_property
    def exercises(self) -> tuple[Exercise, ...]:
        """The lab's, in the notebook's order."""
        return importlib.import_module(self.checks).EXERCISES

    @property
    def with_functions(self) -> list[Exercise]:
        """The exercises that are graded here; a person reads the others."""
        return [exercise for exercise in self.exercises if exercise.function is not None]

    @cached_property
    def cells(self) -> list[Cell]:
        """Of the notebook that was handed out."""
        return read_notebook(self.release)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """By exercise: changes whenever its checks do."""
        return {exercise.name: fingerprint(exercise) for exercise in self.exercises}

    @cached_property
    def rest(self) -> str:
        """Changes whenever anything does, apart from the checks, that a result may depend on."""
        parts = (ENGINE, self.checks, self.sandboxed, self.seconds, self.limits)
        return hashlib.sha256(f"{json.dumps(parts)} {as_json(self.cells)}".encode()).hexdigest()

    @cached_property
    def hash(self) -> str:
        """Changes whenever anything does that a result may depend on."""
        parts = f"{self.rest} {json.dumps(self.fingerprints)}"
        return hashlib.sha256(parts.encode()).hexdigest()

    def __reduce__(self) -> tuple:
        """Another process loads the checks for itself."""
        return Bundle, (self.checks, self.release, self.seconds, self.limits, self.sandboxed)


def grade_one(
    submission: Submission, bundle: Bundle, *, known: Sequence[ExerciseResult] = ()
) -> SubmissionResult:
    """Grade a submission.

    Args:
        submission: a notebook, with anything in it.
        bundle: what to grade it with.
        known: exercises that are graded already, and need not be asked again.

    Returns:
        The result. That a submission is broken, endless or hostile is a result too.

    Raises:
        NoKernel: no kernel can be had here.
    """
    started = time.monotonic()
    try:
        matched = match(read_notebook(submission.content), bundle.cells, bundle.exercises)
    except ValueError as error:
        graded = [_lost(one, "unreadable", str(error)) for one in bundle.with_functions]
        words, notes = {}, [str(error)]
    else:
        graded, notes = _exercise_results(submission, bundle, matched, known)
        words = dict(matched.words)
    graded = [replace(one, fingerprint=bundle.fingerprints[one.name]) for one in graded]
    return SubmissionResult(
        submission=submission.hash,
        bundle=bundle.hash,
        sandboxed=bundle.sandboxed,
        exercises=tuple(graded),
        words=words,
        notes=tuple(notes),
        seconds=round(time.monotonic() - started, 2),
    )


def inputs_of(submission: Submission, exercise: Exercise) -> np.random.Generator:
    """Draws the inputs that this submission gets in this exercise, the same every time."""
    seed = hashlib.sha256(f"{submission.hash} {exercise.name}".encode()).digest()
    return np.random.default_rng(list(seed))


class RunningNotebook:
    """A student's notebook, running: as many kernels, one after the other, as it takes.

    Args:
        cells: the code cells.
        bundle: how long they may take, and in what sandbox.
    """

    def __init__(self, cells: Sequence[Cell], bundle: Bundle):
        self.cells, self.bundle = cells, bundle
        self.gone: dict[int, KernelGone] = {}  # by the number of a cell that brought a kernel down
        self.errors: dict[int, str] = {}
        self._kernel: Kernel | None = None
        self._end = time.monotonic() + bundle.seconds.submission

    def close(self) -> None:
        """End the kernel, where there is one."""
        if self._kernel is not None:
            self._kernel.close()
        self._kernel = None

    def ask(self, exercise: Exercise, question: Question, end: float) -> Value:
        """What the student's function makes of a question, asked until `end` at the latest.

        Raises:
            CallFailed: it gave nothing back.
            KernelGone: it brought its kernel down.
        """
        kernel = self._ready()
        seconds = self._at_most(max(0.1, end - time.monotonic()))
        try:
            return kernel.ask(exercise, question, seconds)
        except KernelGone:
            self.close()
            raise

    def ready(self) -> float:
        """Get a kernel in which all cells have run; returns the time at which it had."""
        self._ready()
        return time.monotonic()

    def notes(self) -> list[str]:
        """On the cells that had to be left out."""
        return [f"cell {number} was left out: {gone.text}" for number, gone in self.gone.items()]

    def _ready(self) -> Kernel:
        while self._kernel is None:
            self._at_most(1)
            kernel = Kernel(self.bundle.limits, sandboxed=self.bundle.sandboxed)
            self._kernel = kernel.__enter__()
            if not self._all_cells(kernel):
                self.close()
        return self._kernel

    def _all_cells(self, kernel: Kernel) -> bool:
        """Run the cells; False where one of them brought the kernel down, for it to be left out."""
        for cell in self.cells:
            if cell.number in self.gone:
                continue
            try:
                self.errors[cell.number] = kernel.run(
                    cell.source, self._at_most(self.bundle.seconds.cell)
                )
            except KernelGone as gone:
                self.gone[cell.number] = gone
                return False
        return True

    def _at_most(self, seconds: float) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            allowed = f"{self.bundle.seconds.submission:.0f} s"
            raise KernelGone("time", f"the {allowed} for the whole notebook were used up")
        return min(seconds, left)


def _exercise_results(
    submission: Submission, bundle: Bundle, matched: Matched, known: Sequence[ExerciseResult]
) -> tuple[list[ExerciseResult], list[str]]:
    """Every exercise with a function, and notes on the notebook and its run."""
    results = {one.name: one for one in known}
    with closing(RunningNotebook(matched.code, bundle)) as run:
        for one in bundle.with_functions:
            if one.name not in results:
                results[one.name] = _exercise_result(one, run, submission, matched)
        return [results[one.name] for one in bundle.with_functions], [*matched.notes, *run.notes()]


def _exercise_result(
    exercise: Exercise, run: RunningNotebook, submission: Submission, matched: Matched
) -> ExerciseResult:
    """One exercise; a mistake in the checks themselves is not the student's."""
    try:
        end = run.ready() + run.bundle.seconds.exercise
        verdict = judge(exercise, _caller(exercise, run, end), inputs_of(submission, exercise))
    except KernelGone as gone:
        return _lost(exercise, gone.cause, gone.text)
    except NoKernel:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"[:300]
        return ExerciseResult(exercise.name, None, exercise.points, ("grader",), (text,))
    if verdict.causes == ("missing",):
        return _lost(exercise, *_why_missing(exercise, run, matched, verdict.messages[0]))
    return ExerciseResult(
        exercise.name, verdict.points, exercise.points, verdict.causes, verdict.messages
    )


def _caller(exercise: Exercise, run: RunningNotebook, end: float) -> Callable[[Question], Value]:
    """Asks the student's function; once it brought a kernel down, it is not asked again."""
    gone: list[KernelGone] = []

    def call(question: Question) -> Value:
        if not gone:
            try:
                return run.ask(exercise, question, end)
            except KernelGone as error:
                gone.append(error)
        raise CallFailed(gone[0].cause, gone[0].text)

    return call


def _why_missing(
    exercise: Exercise, run: RunningNotebook, matched: Matched, text: str
) -> tuple[str, str]:
    """A cause and a sentence: the cell that defines the function may not have run."""
    for cell in matched.code:
        here = cell.grade_id == exercise.grade_id or defines(cell, exercise.function)
        if here and cell.number in run.gone:
            gone = run.gone[cell.number]
            return gone.cause, f"cell {cell.number}, its own, was left out: {gone.text}"
        if here and run.errors.get(cell.number):
            return "error", f"cell {cell.number}, its own, ends with {run.errors[cell.number]}"
    return "missing", text


def _lost(exercise: Exercise, cause: str, text: str) -> ExerciseResult:
    return ExerciseResult(exercise.name, 0, exercise.points, (cause,), (text,))


def fingerprint(exercise: Exercise) -> str:
    """A hash of all that judges an exercise, down to the functions of labkit that it calls."""
    sha, seen = hashlib.sha256(), set()
    for part in (*exercise, judge):
        _add(sha, part, seen)
    return sha.hexdigest()


def _add(sha: hashlib._Hash, value: object, seen: set[int]) -> None:
    """Add a value, as far as it is data or a function written in Python."""
    if isinstance(value, FunctionType):
        if id(value) not in seen:
            seen.add(id(value))
            _add_code(sha, value.__code__, value, seen)
            closure = [cell.cell_contents for cell in value.__closure__ or ()]
            _add(sha, [value.__defaults__, value.__kwdefaults__, closure], seen)
    elif isinstance(value, partial):
        _add(sha, [value.func, value.args, value.keywords], seen)
    elif isinstance(value, Mapping):
        _add(sha, [*value.keys(), *value.values()], seen)
    elif isinstance(value, tuple | list):
        for part in value:
            _add(sha, part, seen)
    elif isinstance(value, frozenset):  # its order changes from process to process
        _add(sha, sorted(map(repr, value)), seen)
    elif isinstance(value, np.ndarray):
        sha.update(value.tobytes())
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        sha.update(repr(value).encode())


def _add_code(sha: hashlib._Hash, code: CodeType, function: FunctionType, seen: set[int]) -> None:
    """The instructions, the constants, and functions of the same package that they name."""
    sha.update(code.co_code)
    _add(sha, code.co_names, seen)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_code(sha, constant, function, seen)
        else:
            _add(sha, constant, seen)
    for name in code.co_names:
        value = function.__globals__.get(name)
        if not isinstance(value, FunctionType) or _package(value) == _package(function):
            _add(sha, value, seen)


def _package(function: FunctionType) -> str:
    return function.__module__.partition(".")[0]
