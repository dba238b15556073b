"""What a whole class got: one row per student, as CSV, also in the columns of Moodle and Canvas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grader.grade import Submission
from grader.marks import Mark, Marks, as_points
from grader.results import CAUSES, ExerciseResult, SubmissionResult
from grader.submissions import student_of
from grader.tables import as_csv
from labkit.files import write_atomically
from labkit.selfcheck.exercise import Exercise

BAR = 40  # characters


@dataclass(frozen=True)
class Row:
    """What a student got.

    Attributes:
        student: the submission's.
        graded: by exercise.
        marks: by question.
        result: None where nothing was handed in.
        notes: what was out of the ordinary.
    """

    student: str
    graded: Mapping[str, ExerciseResult]
    marks: Mapping[str, Mark]
    result: SubmissionResult | None
    notes: tuple[str, ...]

    @property
    def open(self) -> list[str]:
        """What a person still has to look at, by exercise or question."""
        unread = [name for name, mark in self.marks.items() if mark.points is None]
        return unread + [name for name, one in self.graded.items() if one.points is None]

    @property
    def points(self) -> float:
        """What is certain by now; the grade where nothing is open."""
        given = [one.points for one in self.graded.values()]
        given += [mark.points for mark in self.marks.values()]
        return sum(points for points in given if points is not None)


def rows_of(
    submissions: Sequence[Submission],
    without: Sequence[str],
    results: Mapping[str, SubmissionResult],
    marks: Marks,
    exercises: Sequence[Exercise],
) -> list[Row]:
    """A row for each student, those without a notebook last."""
    questions = [one.name for one in exercises if one.function is None]
    rows = []
    for one in submissions:
        result = results[one.hash]
        graded = {part.name: part for part in result.exercises}
        given = {name: marks[one.student, name] for name in questions}
        rows.append(Row(one.student, graded, given, result, (*one.notes, *result.notes)))
    nothing = {name: Mark(0) for name in questions}
    asked = [one for one in exercises if one.function is not None]
    for student in without:
        graded = {one.name: ExerciseResult(one.name, 0, one.points, ("missing",)) for one in asked}
        rows.append(Row(student, graded, nothing, None, ("no notebook was handed in",)))
    return rows


def write_gradebooks(out: Path, rows: Sequence[Row], exercises: Sequence[Exercise]) -> None:
    """Write OUT/gradebook.csv, moodle.csv and canvas.csv.

    A grade that is not complete is left empty in Moodle's and Canvas's.
    """
    lab = exercises[0].lab.replace("lab", "Lab ")
    possible = sum(one.points for one in exercises)
    write_atomically(out / "gradebook.csv", _gradebook(rows, exercises, possible))
    write_atomically(out / "moodle.csv", _moodle(rows, possible))
    write_atomically(out / "canvas.csv", _canvas(rows, lab, possible))


def _gradebook(rows: Sequence[Row], exercises: Sequence[Exercise], possible: int) -> bytes:
    names = [one.name for one in exercises]
    columns = ["student", "name", *names, "points", "possible", "open", "sandboxed", "notes"]
    table = []
    for row in rows:
        given = {name: one.points for name, one in (row.graded | row.marks).items()}
        ran = "" if row.result is None else ("yes" if row.result.sandboxed else "NO")
        table.append(
            [
                row.student,
                student_of(row.student).name,
                *(as_points(given[name]) for name in names),
                as_points(row.points),
                possible,
                " ".join(row.open),
                ran,
                "; ".join(row.notes),
            ]
        )
    return as_csv(columns, table)


def _moodle(rows: Sequence[Row], possible: int) -> bytes:
    """The grading worksheet of Moodle's assignments."""
    columns = ["Identifier", "Full name", "Grade", "Maximum Grade", "Feedback comments"]
    table = []
    for row in rows:
        student = student_of(row.student)
        identifier = f"Participant {student.id}" if student.id else student.key
        grade = "" if row.open else as_points(row.points)
        table.append([identifier, student.name, grade, possible, "; ".join(row.notes)])
    return as_csv(columns, table)


def _canvas(rows: Sequence[Row], lab: str, possible: int) -> bytes:
    """Canvas's gradebook, with one assignment."""
    table: list[list[object]] = [["    Points Possible", "", "", "", "", possible]]
    for row in rows:
        student = student_of(row.student)
        grade = "" if row.open else as_points(row.points)
        table.append([student.name, student.id, "", "", "", grade])
    return as_csv(["Student", "ID", "SIS User ID", "SIS Login ID", "Section", lab], table)


def overview(rows: Sequence[Row], exercises: Sequence[Exercise]) -> str:
    """What an instructor wants to know first: scores, mistakes, and what needs a look."""
    possible = sum(one.points for one in exercises)
    handed_in = [row for row in rows if row.result is not None]
    lines = [f"notebooks: {len(handed_in)}; students without one: {len(rows) - len(handed_in)}"]
    if any(not row.result.sandboxed for row in handed_in):
        lines.append("GRADED WITHOUT A SANDBOX: what a student's code did cannot be known")
    still = sum(bool(row.open) for row in rows)
    lines += ["", f"Points of {possible}" + (f", {still} not complete yet" if still else "")]
    lines += _bars(_tenths([row.points for row in handed_in], possible))
    lines += ["", "Mean share of the points, by exercise"]
    lines += [f"  {one.name:32} {_share(one, handed_in)}" for one in exercises]
    lines += ["", "Why points were lost, and how often"]
    lines += _mistakes(handed_in) or ["  no points were lost"]
    noted = [f"  {row.student}: {note}" for row in rows for note in row.notes]
    lines += ["", "Out of the ordinary", *(noted or ["  nothing"])]
    return "\n".join(lines) + "\n"


def _tenths(points: Sequence[float], possible: int) -> dict[str, int]:
    """How many students are in each tenth of the points."""
    tenths = Counter(min(9, int(10 * value / possible)) for value in points)
    return {f"{10 * i:3d} to {10 * i + 10:3d} %": tenths[i] for i in range(10)}


def _bars(counts: Mapping[str, int]) -> list[str]:
    scale = max(1, max(counts.values(), default=0) / BAR)
    return [f"  {name}  {count:4d}  {'#' * round(count / scale)}" for name, count in counts.items()]


def _share(exercise: Exercise, rows: Sequence[Row]) -> str:
    given = [(row.graded | row.marks)[exercise.name].points for row in rows]
    known = [points for points in given if points is not None]
    if not known:
        return "not marked yet"
    return f"{100 * sum(known) / len(known) / exercise.points:3.0f} %"


def _mistakes(rows: Sequence[Row]) -> list[str]:
    counted = Counter(
        (one.name, cause) for row in rows for one in row.graded.values() for cause in one.causes
    )
    return [
        f"  {count:4d}  {name}: {CAUSES.get(cause, cause)}"
        for (name, cause), count in counted.most_common()
    ]
