"""What a student gets to read: one HTML file that needs no network and no script."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from grader.gradebook import Row
from grader.marks import as_points
from grader.results import CAUSES, ExerciseResult
from grader.submissions import student_of
from labkit.files import write_atomically
from labkit.selfcheck.exercise import Exercise
from labkit.selfcheck.report import inline

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: bold; padding: 0.5rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 0.6rem; }
tr { border-bottom: 1px solid; }
td.number { text-align: right; white-space: nowrap; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid; padding-left: 1rem; }
"""
NOTHING_RUNS = "default-src 'none'; style-src 'unsafe-inline'"


def write_feedback(out: Path, rows: Sequence[Row], exercises: Sequence[Exercise]) -> None:
    """Write OUT/feedback/STUDENT.html for each student."""
    for row in rows:
        page = feedback(row, exercises)
        write_atomically(out / "feedback" / f"{row.student}.html", page.encode("utf-8"))


def feedback(row: Row, exercises: Sequence[Exercise]) -> str:
    """The page: what each exercise earned, why points were lost, and hints; never an answer."""
    lab = exercises[0].lab.replace("lab", "Lab ")
    name = html.escape(student_of(row.student).name)
    possible = sum(one.points for one in exercises)
    body = [
        f"<h1>{lab}: feedback for {name}</h1>",
        f"<p><strong>{as_points(row.points)} of {possible} points</strong>{_state(row)}</p>",
        *_notes(row),
        *_table(row, [one for one in exercises if one.function is not None]),
        *(_in_words(row, one) for one in exercises if one.function is None),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{NOTHING_RUNS}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{lab}: feedback for {name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        "<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def _state(row: Row) -> str:
    return "; not all of it has been read yet." if row.open else "."


def _notes(row: Row) -> list[str]:
    if not row.notes:
        return []
    items = "".join(f"<li>{inline(note)}</li>" for note in row.notes)
    return ["<h2>About your notebook</h2>", f"<ul>{items}</ul>"]


def _table(row: Row, exercises: Sequence[Exercise]) -> list[str]:
    lines = [
        "<h2>Exercises</h2>",
        "<table><caption>Points for each exercise, and what to look at</caption>",
        '<thead><tr><th scope="col">Exercise</th><th scope="col">Points</th>'
        '<th scope="col">Result</th></tr></thead><tbody>',
    ]
    for one in exercises:
        graded = row.graded[one.name]
        points = "?" if graded.points is None else graded.points
        lines.append(
            f'<tr><th scope="row">{inline(one.title)}</th>'
            f'<td class="number">{points} of {graded.possible}</td><td>{_reasons(graded)}</td></tr>'
        )
    return [*lines, "</tbody></table>"]


def _reasons(graded: ExerciseResult) -> str:
    if not graded.causes:
        return "Right."
    if graded.points is None:
        return "This could not be checked; your instructor will look at it."
    causes = "; ".join(CAUSES.get(cause, f"likely mistake: {cause}") for cause in graded.causes)
    causes = causes[0].upper() + causes[1:]
    hints = "".join(f"<li>{inline(message)}</li>" for message in graded.messages)
    return f"{inline(causes)}." + (f"<ul>{hints}</ul>" if hints else "")


def _in_words(row: Row, question: Exercise) -> str:
    mark = row.marks[question.name]
    answer = "" if row.result is None else row.result.words.get(question.name, "")
    got = f"{as_points(mark.points)} of {question.points} points"
    if mark.points is None:
        got = f"Not read yet ({question.points} points)"
    lines = [f"<h2>{inline(question.title)}</h2>", f"<p>{got}</p>"]
    if mark.comment:
        lines.append(f"<p>{inline(mark.comment)}</p>")
    if answer:
        lines.append(f"<h3>Your answer</h3><pre>{html.escape(answer)}</pre>")
    return "\n".join(lines)
