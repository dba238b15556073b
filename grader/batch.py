"""Many submissions: on one machine or a cluster, resumable, and again where a check was changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from grader.grade import Bundle, Submission, grade_one
from grader.results import ExerciseResult, SubmissionResult, keep, load
from labkit.executors import finished
from labkit.files import write_atomically


class NotGraded(ValueError):
    """Some submissions could not be graded, for no fault of theirs; all others are kept."""


@dataclass(frozen=True)
class ScoreChange:
    """What a corrected check changes for a student."""

    student: str
    exercise: str
    before: int | None
    after: int | None


def grade_all(
    submissions: Sequence[Submission],
    bundle: Bundle,
    out: Path,
    *,
    executor: Executor | None = None,
    workers: int = 1,
    progress: bool = False,
) -> dict[str, SubmissionResult]:
    """Grade what is not graded yet; each result is kept as soon as it is there.

    Args:
        submissions: the students'.
        bundle: what to grade them with.
        out: a folder for `bundle.json` and `results/`.
        executor: where the work is done: processes, a dask cluster (`client.get_executor()`);
            here by default.
        workers: how many it has.
        progress: show a bar.

    Returns:
        The results by the submission's hash.

    Raises:
        NotGraded: kernels or workers broke down; the same call goes on where it stopped.
        ValueError: out holds results of other checks.
    """
    claim(out, bundle)
    results = {one.hash: load(out, one.hash, bundle.hash) for one in submissions}
    tasks = [(one, ()) for one in _once(submissions) if results[one.hash] is None]
    done = len(results) - len(tasks)
    for result in _results(tasks, bundle, done, executor, workers, progress):
        keep(out, result)
        results[result.submission] = result
    return results


def grade_changed(
    submissions: Sequence[Submission],
    bundle: Bundle,
    out: Path,
    *,
    executor: Executor | None = None,
    workers: int = 1,
    progress: bool = False,
) -> tuple[dict[str, SubmissionResult], list[ScoreChange]]:
    """Grade the exercises whose checks were changed since `out` was made; writes nothing.

    Args:
        submissions, bundle, out, executor, workers, progress: as for `grade_all`.

    Returns:
        The new results by the submission's hash, and what changes for whom. `publish` writes them.

    Raises:
        NotGraded: kernels or workers broke down.
        ValueError: out holds no results yet.
    """
    before = _claimed(out)
    if before is None:
        raise ValueError(f"out holds no results yet ({out}); grade without --only-changed first")
    old = {one.hash: load(out, one.hash, before["hash"]) for one in submissions}
    same_rest = before["rest"] == _described(bundle)["rest"]
    tasks = []
    for one in _once(submissions):
        known = old[one.hash].exercises if old[one.hash] is not None and same_rest else ()
        tasks.append((one, tuple(_still_valid(known, bundle))))
    graded = _results(tasks, bundle, 0, executor, workers, progress)
    results = {result.submission: result for result in graded}
    return results, list(_changes(submissions, old, results))


def publish(out: Path, bundle: Bundle, results: Sequence[SubmissionResult]) -> None:
    """Keep the results of `grade_changed`, and make them the ones that count."""
    for result in results:
        keep(out, result)
    _write_claim(out, bundle)


def claim(out: Path, bundle: Bundle) -> None:
    """Make the folder this bundle's own, or check that it is.

    Raises:
        ValueError: the folder belongs to another bundle.
    """
    before = _claimed(out)
    if before is None:
        _write_claim(out, bundle)
    elif before["hash"] != bundle.hash:
        now, then = bundle.fingerprints, before["exercises"]
        changed = [name for name in now if now[name] != then.get(name)]
        what = f"the checks of {', '.join(changed)}" if changed else "the limits or the notebook"
        raise ValueError(
            f"out holds results of another version ({out}; different: {what}); --only-changed "
            "grades what that touches and shows the difference first, or choose another folder"
        )


def _described(bundle: Bundle) -> dict:
    return {"hash": bundle.hash, "rest": bundle.rest, "exercises": bundle.fingerprints}


def _claimed(out: Path) -> dict | None:
    path = out / "bundle.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _write_claim(out: Path, bundle: Bundle) -> None:
    text = json.dumps(_described(bundle), indent=1) + "\n"
    write_atomically(out / "bundle.json", text.encode("utf-8"))


def _once(submissions: Sequence[Submission]) -> list[Submission]:
    """Files that are equal are graded once."""
    return list({one.hash: one for one in submissions}.values())


def _still_valid(known: Sequence[ExerciseResult], bundle: Bundle) -> Iterator[ExerciseResult]:
    for one in known:
        if bundle.fingerprints.get(one.name) == one.fingerprint and one.points is not None:
            yield one


def _changes(
    submissions: Sequence[Submission],
    old: dict[str, SubmissionResult | None],
    new: dict[str, SubmissionResult],
) -> Iterator[ScoreChange]:
    for one in submissions:
        earlier = () if old[one.hash] is None else old[one.hash].exercises
        points = {exercise.name: exercise.points for exercise in earlier}
        for now in new[one.hash].exercises:
            before = points.get(now.name)
            if before != now.points:
                yield ScoreChange(one.student, now.name, before, now.points)


Task = tuple[Submission, Sequence[ExerciseResult]]


def _results(
    tasks: Sequence[Task],
    bundle: Bundle,
    done: int,
    executor: Executor | None,
    workers: int,
    progress: bool,
) -> Iterator[SubmissionResult]:
    """Each result as it comes, with a bar.

    Raises:
        NotGraded: at the end, where some came to nothing.
    """
    broken: dict[str, str] = {}
    total = done + len(tasks)
    with tqdm(total=total, initial=done, desc="submissions", disable=not progress) as bar:
        for (submission, _), result in finished(executor, _work, bundle, tasks, 2 * workers):
            try:
                got = result()
            except Exception as error:
                broken[submission.student] = f"{type(error).__name__}: {error}"
            else:
                yield got
            bar.update()
    if broken:
        reasons = "\n".join(f"  {student}: {reason}" for student, reason in sorted(broken.items()))
        raise NotGraded(
            f"{len(broken)} submission(s) could not be graded, for no fault of theirs:\n{reasons}\n"
            "all other results are kept; the same command goes on"
        )


def _work(
    bundle: Bundle, submission: Submission, known: Sequence[ExerciseResult]
) -> SubmissionResult:
    return grade_one(submission, bundle, known=known)
