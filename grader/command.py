"""What `python -m grader` does: a folder of notebooks, as gradebook and feedback.

python -m grader submissions --lab 4 --out grades --jobs 2
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from grader.batch import ScoreChange, grade_all, grade_changed, publish
from grader.feedback import write_feedback
from grader.grade import Bundle, Seconds, Submission
from grader.gradebook import overview, rows_of, write_gradebooks
from grader.marks import check_form, complete, form, read_marks, write_marks
from grader.matching import match
from grader.results import SubmissionResult
from grader.sandbox import GIB, Limits, why_not
from grader.similarity import similar
from grader.submissions import find_submissions
from grader.tables import as_csv
from labkit.cells import read_notebook
from labkit.executors import add_workers, workers_of
from labkit.files import write_atomically

COURSE = Path(__file__).parents[1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    seconds = Seconds()
    parser.add_argument("submissions", type=Path, help="holds a folder or file per student")
    parser.add_argument("--lab", required=True, type=int, choices=range(1, 8), help="1 to 7")
    parser.add_argument("--out", required=True, type=Path, help="folder; run again to go on")
    parser.add_argument("--release", type=Path, help="the notebook that was handed out")
    parser.add_argument("--only-changed", action="store_true", help="after checks were corrected")
    parser.add_argument("--yes", action="store_true", help="--only-changed asks nothing")
    parser.add_argument("--cell-seconds", type=float, default=seconds.cell)
    parser.add_argument("--exercise-seconds", type=float, default=seconds.exercise)
    parser.add_argument("--submission-seconds", type=float, default=seconds.submission)
    parser.add_argument("--memory", type=float, default=Limits().memory / GIB, help="GiB")
    parser.add_argument("--unsandboxed", action="store_true", help="trust every submission")
    add_workers(parser)


def main(arguments: argparse.Namespace) -> None:
    """Grade, and write what instructor and students read.

    Raises:
        ValueError, OSError: what was asked for cannot be done, or not wholly; the same command
            goes on.
    """
    bundle = bundle_of(arguments)
    submissions, without = find_submissions(arguments.submissions, bundle.cells)
    if not arguments.unsandboxed and not arguments.scheduler:
        _need_a_sandbox()
    check_form(arguments.out, read_marks(arguments.out))
    results = _results(arguments, bundle, submissions)
    if results is not None:
        write_all(arguments.out, bundle, submissions, without, results)


def bundle_of(arguments: argparse.Namespace) -> Bundle:
    """What to grade with.

    Raises:
        FileNotFoundError: the notebook that was handed out is not there.
    """
    lab = f"lab{arguments.lab}"
    release = arguments.release or COURSE / "exercises" / lab / f"{lab}.ipynb"
    if not release.is_file():
        raise FileNotFoundError(
            f"the notebook that was handed out is not at {release}; name it with --release, or "
            "make it with `make exercises`"
        )
    return Bundle(
        f"labkit.selfcheck.{lab}",
        release.read_bytes(),
        seconds=Seconds(
            arguments.cell_seconds, arguments.exercise_seconds, arguments.submission_seconds
        ),
        limits=Limits(memory=int(arguments.memory * GIB)),
        sandboxed=not arguments.unsandboxed,
    )


def _need_a_sandbox() -> None:
    if reason := why_not():
        raise ValueError(
            f"{reason}. Without a sandbox, a student's code can read, change and delete whatever "
            "you can; if you trust every submission, --unsandboxed grades without, and the results "
            "say so"
        )


def _results(
    arguments: argparse.Namespace, bundle: Bundle, submissions: Sequence[Submission]
) -> Mapping[str, SubmissionResult] | None:
    """The results; None where corrected checks are not to count after all."""
    with workers_of(arguments) as (executor, n):
        settings = {"executor": executor, "workers": n, "progress": True}
        if not arguments.only_changed:
            return grade_all(submissions, bundle, arguments.out, **settings)
        results, changes = grade_changed(submissions, bundle, arguments.out, **settings)
    for line in difference(changes):
        print(line)
    if not (arguments.yes or _agreed()):
        print("nothing was written")
        return None
    publish(arguments.out, bundle, list(results.values()))
    return results


def difference(changes: Sequence[ScoreChange]) -> list[str]:
    """Whose scores change, one line each."""
    if not changes:
        return ["no score changes"]
    students = len({change.student for change in changes})
    lines = [
        f"  {change.student}: {change.exercise} {_points(change.before)} -> {_points(change.after)}"
        for change in changes
    ]
    return [f"{len(changes)} scores of {students} students change:", *lines]


def _points(points: int | None) -> str:
    return "?" if points is None else str(points)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    return input("write these scores, gradebook and feedback? [y/N] ").strip().lower() == "y"


def write_all(
    out: Path,
    bundle: Bundle,
    submissions: Sequence[Submission],
    without: Sequence[str],
    results: Mapping[str, SubmissionResult],
) -> None:
    """Everything that is derived from the results and the marks."""
    questions = [one for one in bundle.exercises if one.function is None]
    marks = complete(read_marks(out), submissions, results, questions)
    write_marks(out, marks, {one.name: one.points for one in questions})
    write_atomically(out / "marks.ipynb", form(marks, submissions, results, questions))
    rows = rows_of(submissions, without, results, marks, bundle.exercises)
    write_gradebooks(out, rows, bundle.exercises)
    write_feedback(out, rows, bundle.exercises)
    _write_similar(out, bundle, submissions)
    text = overview(rows, bundle.exercises)
    write_atomically(out / "summary.txt", text.encode("utf-8"))
    print(text)
    print(f"gradebook, marks and feedback: {out}")


def _write_similar(out: Path, bundle: Bundle, submissions: Sequence[Submission]) -> None:
    own = {}
    for one in submissions:
        try:
            own[one.student] = match(read_notebook(one.content), bundle.cells, ()).own
        except ValueError:
            continue
    note = "a place to look, not a finding"
    rows = [[pair.a, pair.b, f"{pair.share:.2f}", pair.runs, note] for pair in similar(own)]
    columns = ["student", "other", "share of the smaller notebook", "shared runs", "note"]
    write_atomically(out / "similarity.csv", as_csv(columns, rows))
