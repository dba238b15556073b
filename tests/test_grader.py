"""Grading, as far as it needs no kernel: data on the wire, cells, results, marks, tables."""

import base64
import csv
import io
import itertools
import json
import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest

from grader import grade
from grader.batch import ScoreChange, claim
from grader.command import difference
from grader.feedback import feedback
from grader.grade import Bundle, Limits, Seconds, Submission, fingerprint, inputs_of
from grader.gradebook import overview, rows_of, write_gradebooks
from grader.kernel import KernelGone, _answer_in
from grader.marks import (
    Mark,
    check_form,
    complete,
    form,
    read_marks,
    write_marks,
)
from grader.matching import match
from grader.results import ExerciseResult, SubmissionResult, keep, load, result_file
from grader.sandbox import NoKernel
from grader.similarity import similar
from grader.submissions import Student, find_submissions, student_of
from grader.tables import as_csv, from_csv
from grader.wire import read, written
from labkit.cells import Cell, read_notebook
from labkit.selfcheck.exercise import CallFailed, asked_here
from labkit.selfcheck.networks import Network
from tools.stamp_colab import Place, badge, setup_source

sys.path.insert(0, str(Path(__file__).parent / "redteam"))
import toy_lab  # noqa: E402

# Data on the wire


def test_data_comes_back_as_it_was():
    for value in (None, True, 3, 2.5, "größe", (1, (2.0, "x"), ()), {"a": 1, 2: None}):
        came = read(written(value))
        assert came == value and type(came) is type(value), value
    for value in (
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(True),
        np.zeros((0, 4), dtype=np.float32),
        np.array([1 + 2j]),
    ):
        came = read(written(value))
        assert came.dtype == value.dtype and came.shape == value.shape, value
        np.testing.assert_array_equal(came, value)
        came[...] = 0  # its own memory


def test_networks_and_strange_numbers_cross():
    network = Network("linear", {"out.weight": np.ones((2, 3), dtype=np.float32)})
    came = read(written({"model": network, "values": [float("nan"), float("inf")]}))
    assert isinstance(came["model"], Network) and came["model"].kind == "linear"
    np.testing.assert_array_equal(came["model"].weights["out.weight"], np.ones((2, 3)))
    assert np.isnan(came["values"][0]) and came["values"][1] == float("inf")


def test_what_is_no_data_is_refused():
    for value in (object(), np.array([object()]), {1, 2}, (1, print)):
        with pytest.raises(TypeError, match="expected numbers, arrays or tensors, got"):
            written(value)


def array(**changed):
    plain = {"array": base64.b64encode(bytes(8)).decode(), "dtype": "<f4", "shape": [2]}
    return json.dumps(plain | changed).encode()


def test_forged_bytes_are_refused():
    for content in (
        b"",
        b"{",
        pickle.dumps(1),
        b"[" * 100_000,
        b'{"other": 1}',
        b'{"network": "cnn", "weights": 3}',
        b'{"dict": [[[[1]]]]}',
        array(shape=[3]),
        array(shape=[10**12]),
        array(shape=[-1, -2]),
        array(shape=["2"]),
        array(shape=[True, 2]),
        array(dtype="|O"),
        array(dtype="nonsense"),
        array(array="not base64!"),
        array(array=5),
    ):
        with pytest.raises(ValueError, match="content is not a value"):
            read(content)
            pytest.fail(f"{content[:60]} was read")
    # the array that the forgeries vary is fine
    np.testing.assert_array_equal(read(array()), np.zeros(2, dtype=np.float32))


# Cells


def cell(source, number=1, kind="code", **settings):
    return Cell(number, kind, source, **settings)


def release_and(cells):
    release = read_notebook(toy_lab.RELEASE)
    content = toy_lab.as_file(cells)
    return match(read_notebook(content), release, toy_lab.EXERCISES)


def markdown(source):
    return nbformat.v4.new_markdown_cell(source)


def test_the_own_cells_are_those_that_were_not_handed_out():
    matched = release_and(toy_lab.cells_of({"weights": toy_lab.RIGHT["weights"]}, "Because."))
    assert [one.source for one in matched.own] == [toy_lab.RIGHT["weights"], "Because."]
    assert matched.notes == ()


# Where Colab finds the course: as shipped, and in two forks

PLACES = [None, Place("ada/heat-maps", "main"), Place("grace/fork", "spring/2027")]


def stamped_for(place, answers=None, words=toy_lab.PLACEHOLDER):
    first, *others = toy_lab.cells_of(answers, words)
    badges = [markdown(badge("lab4.ipynb", place, "exercises/lab4"))] if place else []
    return [first, *badges, nbformat.v4.new_code_cell(setup_source(place)), *others]


def test_what_make_colab_writes_is_nobodys_own():
    for handed_out, handed_in in itertools.product(PLACES, PLACES):
        release = read_notebook(toy_lab.as_file(stamped_for(handed_out)))
        cells = read_notebook(toy_lab.as_file(stamped_for(handed_in, toy_lab.RIGHT, "Because.")))
        matched, places = match(cells, release, toy_lab.EXERCISES), (handed_out, handed_in)
        own = [one.text for one in matched.own]
        assert own == [*toy_lab.RIGHT.values(), "Because."], places
        assert matched.words == {"toy.q1": "Because."} and matched.notes == (), places
        assert setup_source(handed_in) in [one.source for one in matched.code], places


def test_stamping_the_release_grades_nothing_again():
    hashes = {Bundle("toy_lab", toy_lab.as_file(stamped_for(place))).hash for place in PLACES}
    assert len(hashes) == 1 and Bundle("toy_lab", toy_lab.RELEASE).hash not in hashes


def test_an_empty_cell_does_not_end_an_answer():
    *others, last = stamped_for(PLACES[1], words="One.")
    release = read_notebook(toy_lab.as_file(stamped_for(PLACES[1])))
    content = toy_lab.as_file([*others, markdown(""), markdown("Two."), last])
    words = match(read_notebook(content), release, toy_lab.EXERCISES).words
    assert words == {"toy.q1": "One.\n\nTwo."}


def test_an_empty_copy_of_an_answer_is_not_run():
    stub, answer = (
        nbformat.v4.new_code_cell(sources["weights"]) for sources in (toy_lab.STUBS, toy_lab.RIGHT)
    )
    for cells in ([stub, answer], [answer, stub]):
        matched = release_and(cells)
        assert [one.source for one in matched.code] == [answer["source"]]
        assert "an empty copy of the cell of `weights` was left out" in matched.notes
    assert [one.source for one in release_and([stub]).code] == [stub["source"]]


def test_an_answer_in_words_may_be_split_moved_or_lose_its_mark():
    *others, question, answer, last = toy_lab.cells_of({}, "One.")
    found = {"toy.q1": "One."}
    assert release_and([*others, question, answer, last]).words == found
    assert release_and([question, answer, *others]).words == found
    assert release_and([*others, answer, last]).words == found
    split = [*others, question, answer, markdown("Two."), last, markdown("Not this.")]
    assert release_and(split).words == {"toy.q1": "One.\n\nTwo."}
    del question["metadata"]["nbgrader"]
    assert release_and([*others, question, answer, last]).words == found
    question["source"] += "\n\nOne."
    assert "One." in release_and([*others, question, last]).words["toy.q1"]
    assert release_and(toy_lab.cells_of({})).words == {"toy.q1": ""}


# What a result depends on


def test_a_fingerprint_changes_with_the_checks_and_with_nothing_else():
    weights, scores = toy_lab.EXERCISES[:2]
    assert fingerprint(weights) == fingerprint(weights._replace())
    assert fingerprint(weights) != fingerprint(scores)
    hint = weights.mistakes[0]._replace(hint="Another.")
    assert fingerprint(weights) != fingerprint(weights._replace(mistakes=(hint,)))
    assert fingerprint(weights) != fingerprint(weights._replace(points=3))
    other = weights._replace(solve=lambda maps: maps.mean(dim=(1, 2)) + 1)
    assert fingerprint(weights) != fingerprint(other)


def test_a_fingerprint_sees_the_functions_that_a_check_calls(monkeypatch):
    before = fingerprint(toy_lab.EXERCISES[0])
    monkeypatch.setattr(toy_lab, "_float32", lambda values: np.asarray(values))
    assert fingerprint(toy_lab.EXERCISES[0]) != before


def test_a_bundle_is_the_same_in_another_process():
    bundle = Bundle("toy_lab", toy_lab.RELEASE, seconds=Seconds(1, 2, 3), limits=Limits(memory=4))
    assert pickle.loads(pickle.dumps(bundle)).hash == bundle.hash
    assert Bundle("toy_lab", toy_lab.RELEASE, sandboxed=False).hash != bundle.hash


def test_inputs_differ_between_submissions_and_stay_the_same():
    first, second = Submission("a", b"1"), Submission("b", b"2")
    weights, scores = toy_lab.EXERCISES[:2]
    drawn = [
        inputs_of(*pair).random()
        for pair in ((first, weights), (first, weights), (first, scores), (second, weights))
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


# Grading, with a kernel that is only pretended


@pytest.fixture
def kernels(monkeypatch):
    """What each kernel was asked, and what brings one down: words in cells, functions by name."""
    asked, fatal = [], {}

    class Pretended:
        def __init__(self, limits, *, sandboxed):
            assert sandboxed

        def __enter__(self):
            self.closed = False
            asked.append([])
            return self

        def close(self):
            assert not self.closed
            self.closed = True
            asked[-1].append("closed")

        def run(self, source, seconds):
            asked[-1].append(source.splitlines()[0])
            for word, cause in fatal.items():
                if f"{word}()" in source:
                    raise KernelGone(cause, f"{cause}!")
            return ""

        def ask(self, exercise, case, seconds):
            asked[-1].append(exercise.function)
            if exercise.function in fatal:
                raise KernelGone(fatal[exercise.function], "gone")
            return asked_here(exercise.solve)(case)

    monkeypatch.setattr(grade, "Kernel", Pretended)
    return asked, fatal


def graded(*, bundle=None, after=(), known=()):
    submission = Submission("anna", toy_lab.notebook(toy_lab.RIGHT, after=after))
    bundle = bundle or Bundle("toy_lab", toy_lab.RELEASE)
    return grade.grade_one(submission, bundle, known=known)


def points(result):
    return [one.points for one in result.exercises]


def test_a_cell_that_ends_its_kernel_is_left_out_of_the_next(kernels):
    asked, fatal = kernels
    fatal["forever"] = "time"
    result = graded(after=["forever()", "last()"])
    assert points(result) == [2, 2, 2]
    assert result.notes == ("cell 15 was left out: time!",)
    first, second = asked
    assert first[-2:] == ["forever()", "closed"] and "last()" not in first
    assert "forever()" not in second and second.index("last()") < second.index("weights")
    assert second.count("closed") == 1 and second[-1] == "closed"


def test_a_function_that_ends_its_kernel_is_asked_once(kernels):
    asked, fatal = kernels
    fatal["weights"] = "crash"  # there are two cases to ask
    fatal["standardised"] = "memory"
    result = graded()
    assert points(result) == [0, 2, 0]
    assert [one.causes for one in result.exercises] == [("crash",), (), ("memory",)]
    assert [kernel.count("weights") for kernel in asked] == [1, 0]


def test_the_time_of_the_whole_notebook_is_limited(kernels):
    bundle = Bundle("toy_lab", toy_lab.RELEASE, seconds=Seconds(1, 1, 0))
    result = graded(bundle=bundle)
    assert {one.causes for one in result.exercises} == {("time",)}
    assert "the 0 s for the whole notebook were used up" in result.exercises[0].messages[0]
    assert kernels[0] == []


def test_a_broken_check_costs_the_student_nothing(kernels, monkeypatch):
    weights, *rest = toy_lab.EXERCISES
    broken = weights._replace(questions=lambda rng: 1 / 0)
    monkeypatch.setattr(toy_lab, "EXERCISES", (broken, *rest))
    result = graded()
    assert points(result) == [None, 2, 2]
    assert result.exercises[0].causes == ("grader",)
    assert "ZeroDivisionError" in result.exercises[0].messages[0]


def test_no_kernel_is_no_result(kernels, monkeypatch):
    def fail(self):
        raise NoKernel("it does not start")

    monkeypatch.setattr(grade.Kernel, "__enter__", fail)
    with pytest.raises(NoKernel):
        graded()


def test_what_is_graded_already_is_not_asked(kernels):
    known = [ExerciseResult("toy.weights", 1, 2), ExerciseResult("toy.standardised", 0, 2)]
    result = graded(known=known)
    assert points(result) == [1, 2, 0]
    assert set(kernels[0][0]) & set(toy_lab.RIGHT) == {"scores"}
    kernels[0].clear()
    graded(known=[*known, ExerciseResult("toy.scores", 2, 2)])
    assert kernels[0] == []


def test_the_same_submission_has_the_same_result(kernels):
    content = toy_lab.notebook(toy_lab.RIGHT)
    bundle = Bundle("toy_lab", toy_lab.RELEASE)
    once, again = (grade.grade_one(Submission(name, content), bundle) for name in ("a", "b"))
    assert replace(once, seconds=0) == replace(again, seconds=0)


def in_reply(text, status="ok"):
    return {"user_expressions": {"answer": {"status": status, "data": {"text/plain": text}}}}


def test_an_answer_is_taken_out_of_a_reply():
    content = base64.b64encode(written({"answer": 3})).decode()
    assert _answer_in(in_reply(f"'{content}'")) == {"answer": 3}


def test_forged_replies_hold_no_answer():
    for content in (
        {},
        {"user_expressions": None},
        {"user_expressions": {"answer": "ok"}},
        in_reply(5),
        in_reply("__import__('os').abort()"),
        in_reply("'AAA'"),
        in_reply("'" + base64.b64encode(b"[" * 10**5).decode() + "'"),
        in_reply("'" + base64.b64encode(written((1, 2))).decode() + "'"),
        in_reply("'" + base64.b64encode(written({"points": 99})).decode() + "'"),
    ):
        with pytest.raises(CallFailed, match="the kernel gave back no data"):
            _answer_in(content)
            pytest.fail(f"{str(content)[:60]} was believed")


def test_an_error_in_a_reply_is_cut():
    error = {"status": "error", "ename": "E" * 10**6, "evalue": 5}
    with pytest.raises(CallFailed) as failure:
        _answer_in({"user_expressions": {"answer": error}})
    assert failure.value.cause == "error" and len(failure.value.text) == 300


# Results, marks, and what is made of them

WEIGHTS = ExerciseResult(
    "toy.weights", 0, 2, ("sum instead of mean",), ("They grow <b>with</b> `maps`.",)
)
SCORES = ExerciseResult("toy.scores", 2, 2)
STANDARDISED = ExerciseResult("toy.standardised", 1, 2, ("time",), ("it was stopped after 5 s",))


def result_of(submission, *, words="Because <i>it</i> is.", exercises=None, **changed):
    result = SubmissionResult(
        submission=submission.hash,
        bundle="b" * 64,
        sandboxed=True,
        exercises=exercises or (WEIGHTS, SCORES, STANDARDISED),
        words={"toy.q1": words},
        notes=("cell 3 was left out: <script>",),
        seconds=1.5,
    )
    return replace(result, **changed)


@pytest.fixture
def two(tmp_path):
    """Two students, one of whom left the question open, and the results."""
    submissions = [Submission("Doe Jane_77_assignsubmission_file", b"1"), Submission("=zoë", b"2")]
    results = {one.hash: result_of(one) for one in submissions}
    last = submissions[1]
    results[last.hash] = result_of(last, words="", notes=())
    return submissions, results


QUESTIONS = [toy_lab.EXERCISES[-1]]


def test_a_result_is_read_as_it_was_kept(tmp_path, two):
    submissions, results = two
    result = results[submissions[0].hash]
    assert load(tmp_path, result.submission, result.bundle) is None
    keep(tmp_path, result)
    assert load(tmp_path, result.submission, result.bundle) == result
    assert load(tmp_path, result.submission, "c" * 64) is None
    assert "Jane" not in result_file(tmp_path, result.submission, result.bundle).read_text()


def test_marks_are_kept_and_open_ones_added(tmp_path, two):
    submissions, results = two
    jane, zoe = (one.student for one in submissions)
    marks = complete(read_marks(tmp_path), submissions, results, QUESTIONS)
    assert marks == {(jane, "toy.q1"): Mark(), (zoe, "toy.q1"): Mark(0, "no answer was found")}
    given = marks | {(jane, "toy.q1"): Mark(2.5, "=good, but")}
    write_marks(tmp_path, given, {"toy.q1": 3})
    assert read_marks(tmp_path) == given
    assert complete(read_marks(tmp_path), submissions, results, QUESTIONS) == given


def test_marks_of_another_lab_are_refused(two):
    with pytest.raises(ValueError, match=r"among toy.q1, got 'lab5.q1' for 'x'; is it the file of"):
        complete({("x", "lab5.q1"): Mark(1)}, *two, QUESTIONS)


def test_a_line_that_is_no_mark_is_named(tmp_path):
    said = "marks.csv, line 2: expected the columns student, question"
    points = ("4,3,", "-1,3,", "nan,3,", "many,3,")
    for line in (*(f"x,toy.q1,{given}" for given in points), "x,toy.q1"):
        (tmp_path / "marks.csv").write_text(f"student,question,points,of,comment\n{line}\n")
        with pytest.raises(ValueError, match=said):
            read_marks(tmp_path)
            pytest.fail(f"{line} was read")


def test_marks_as_a_german_excel_saves_them(tmp_path):
    text = "\ufeffstudent;question;points;of;comment\nx;toy.q1;2,5;3;gut\n"
    (tmp_path / "marks.csv").write_text(text, encoding="utf-8")
    assert read_marks(tmp_path) == {("x", "toy.q1"): Mark(2.5, "gut")}


def test_the_form_writes_the_marks(tmp_path, two, monkeypatch):
    submissions, results = two
    marks = complete({}, submissions, results, QUESTIONS)
    (tmp_path / "marks.ipynb").write_bytes(form(marks, submissions, results, QUESTIONS))
    cells = read_notebook((tmp_path / "marks.ipynb").read_bytes())
    (quoted,) = [one.source for one in cells if "Because" in one.source]
    assert quoted.endswith("```text\nBecause <i>it</i> is.\n```")
    check_form(tmp_path, {})  # nothing was entered
    source = "\n".join(one.source for one in cells if one.kind == "code")
    monkeypatch.chdir(tmp_path)
    exec(source.replace("(None, '')", "(2, 'good')"), {})
    assert read_marks(tmp_path)[submissions[0].student, "toy.q1"] == Mark(2, "good")


def test_marks_in_the_form_are_not_lost(tmp_path, two):
    submissions, results = two
    marks = complete({}, submissions, results, QUESTIONS)
    entered = form(marks, submissions, results, QUESTIONS).replace(b"(None, '')", b"(1, 'x')")
    (tmp_path / "marks.ipynb").write_bytes(entered)
    with pytest.raises(ValueError, match="holds marks that are not in marks.csv yet; run all"):
        check_form(tmp_path, marks)
    check_form(tmp_path, marks | {(submissions[0].student, "toy.q1"): Mark(1, "x")})
    (tmp_path / "marks.ipynb").write_bytes(entered.replace(b"(1, 'x')", b"(1, x)"))
    with pytest.raises(ValueError, match="no mark can be read there"):
        check_form(tmp_path, marks)


def test_an_answer_cannot_leave_its_quotation(two):
    submissions, results = two
    breaking = {one.hash: result_of(one, words="```\n<script>") for one in submissions}
    marks = complete({}, submissions, breaking, QUESTIONS)
    assert "````text" in form(marks, submissions, breaking, QUESTIONS).decode()


def rows(two, marks=None):
    submissions, results = two
    marks = complete(marks or {}, submissions, results, QUESTIONS)
    return rows_of(submissions, ["late"], results, marks, toy_lab.EXERCISES)


def table(path):
    return list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"))))


def test_gradebooks_have_the_platforms_columns(tmp_path, two):
    jane = two[0][0].student
    write_gradebooks(tmp_path, rows(two), toy_lab.EXERCISES)
    book = table(tmp_path / "gradebook.csv")
    assert book[0][:6] == [
        "student",
        "name",
        "toy.weights",
        "toy.scores",
        "toy.standardised",
        "toy.q1",
    ]
    assert book[1][1:10] == ["Doe Jane", "0", "2", "1", "", "3", "9", "toy.q1", "yes"]
    assert book[2][0] == "'=zoë" and book[2][5] == "0"
    assert book[3] == [
        "late",
        "late",
        "0",
        "0",
        "0",
        "0",
        "0",
        "9",
        "",
        "",
        "no notebook was handed in",
    ]
    assert table(tmp_path / "moodle.csv")[1][:4] == ["Participant 77", "Doe Jane", "", "9"]
    write_gradebooks(tmp_path, rows(two, {(jane, "toy.q1"): Mark(2.5)}), toy_lab.EXERCISES)
    assert table(tmp_path / "moodle.csv")[1][:4] == ["Participant 77", "Doe Jane", "5.5", "9"]
    canvas = table(tmp_path / "canvas.csv")
    assert canvas[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "toy"]
    assert canvas[1][5] == "9"
    assert canvas[2] == ["Doe Jane", "77", "", "", "", "5.5"]


def test_feedback_is_accessible_and_shows_no_markup_of_students(two):
    page = feedback(
        rows(two, {(two[0][0].student, "toy.q1"): Mark(2, "See <eq. 3>.")})[0], toy_lab.EXERCISES
    )
    assert '<html lang="en">' in page and '<th scope="row">The weights</th>' in page
    assert "<caption>" in page and "default-src 'none'" in page
    for harmful in ("<script", "<i>", "<b>", "<eq", "http://", "https://", "src="):
        assert harmful not in page.replace("default-src", "")
    assert "They grow &lt;b&gt;with&lt;/b&gt; <code>maps</code>." in page
    assert "Likely mistake: sum instead of mean." in page
    assert "<strong>5 of 9 points</strong>." in page
    assert "Because &lt;i&gt;it&lt;/i&gt; is." in page and "See &lt;eq. 3&gt;." in page
    assert "0 of 2" in page and "Right." in page and "Out of time." in page


def test_feedback_says_what_is_open_and_what_could_not_be_checked(two):
    submissions, results = two
    broken = ExerciseResult("toy.weights", None, 2, ("grader",), ("ValueError: in the check",))
    results[submissions[0].hash] = result_of(
        submissions[0], exercises=(broken, SCORES, STANDARDISED)
    )
    page = feedback(rows(two)[0], toy_lab.EXERCISES)
    assert "not all of it has been read yet" in page and "Not read yet (3 points)" in page
    assert "your instructor will look at it" in page and "ValueError" not in page


def test_the_overview_counts_scores_and_mistakes(two):
    text = overview(rows(two), toy_lab.EXERCISES)
    assert "notebooks: 2; students without one: 1\n" in text
    assert "Points of 9, 1 not complete yet" in text
    assert " 30 to  40 %     2  ##" in text
    assert "   2  toy.weights: sum instead of mean" in text
    assert "   2  toy.standardised: out of time" in text
    assert re.search(r"toy.scores +100 %", text)
    assert "SANDBOX" not in text
    submissions, results = two
    results[submissions[0].hash] = replace(results[submissions[0].hash], sandboxed=False)
    assert "GRADED WITHOUT A SANDBOX" in overview(rows(two), toy_lab.EXERCISES)


def test_no_text_in_a_table_is_a_formula():
    for text in ("=1+1", "+1", "-x", "@sum", "plain", "'quoted", "größe"):
        (_, (read_back,)) = csv.reader(io.StringIO(as_csv(["a"], [[text]]).decode("utf-8-sig")))
        assert not read_back.startswith(("=", "+", "-", "@")), text
        assert from_csv(read_back) == text


def test_a_folder_of_results_belongs_to_one_bundle(tmp_path, monkeypatch):
    bundle = Bundle("toy_lab", toy_lab.RELEASE)
    claim(tmp_path, bundle)
    claim(tmp_path, Bundle("toy_lab", toy_lab.RELEASE))
    monkeypatch.setattr(toy_lab, "_float32", np.float64)
    with pytest.raises(
        ValueError, match="different: the checks of toy.weights, toy.scores.*--only"
    ):
        claim(tmp_path, Bundle("toy_lab", toy_lab.RELEASE))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="different: the limits or the notebook"):
        claim(tmp_path, Bundle("toy_lab", toy_lab.RELEASE, sandboxed=False))


# Finding the notebooks

DONE = toy_lab.notebook(toy_lab.RIGHT)


def find(folder):
    return find_submissions(folder, read_notebook(toy_lab.RELEASE))


def test_one_notebook_is_found_for_each_student(tmp_path):
    for name in ("anna/lab4.ipynb", "Zoë Müller/Copy of lab4.ipynb", "ben/lab4/deep/x.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(DONE)
    (tmp_path / "ben" / "numpy.py").write_text("raise ImportError")
    (tmp_path / "anna" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "anna" / ".ipynb_checkpoints" / "lab4-checkpoint.ipynb").write_bytes(b"old")
    (tmp_path / "flat_12_34_lab4.ipynb").write_bytes(DONE)
    (tmp_path / "carl").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "list.csv").write_text("x")
    found, without = find(tmp_path)
    assert {one.student for one in found} == {"anna", "ben", "Zoë Müller", "flat_12_34_lab4"}
    assert all(one.content == DONE and not one.notes for one in found)
    assert without == ["carl"]


def test_of_several_notebooks_the_one_with_the_work_is_graded(tmp_path):
    (tmp_path / "anna").mkdir()
    other = toy_lab.as_file([nbformat.v4.new_code_cell("x = 1\n" * 1000)])
    for name, content in {"lab4": toy_lab.RELEASE, "mine": DONE, "other": other}.items():
        (tmp_path / "anna" / f"{name}.ipynb").write_bytes(content)
    ((anna,), _) = find(tmp_path)
    assert anna.content == DONE
    assert anna.notes == ("mine.ipynb was graded, and not lab4.ipynb, other.ipynb",)


def test_links_are_not_followed(tmp_path):
    (tmp_path / "of_others").mkdir()
    (tmp_path / "of_others" / "lab4.ipynb").write_bytes(DONE)
    students = tmp_path / "students"
    (students / "eve").mkdir(parents=True)
    (students / "eve" / "lab4.ipynb").symlink_to(tmp_path / "of_others" / "lab4.ipynb")
    (students / "mal").mkdir()
    (students / "mal" / "folder").symlink_to(tmp_path / "of_others")
    (students / "tom").symlink_to(tmp_path / "of_others")
    assert find(students) == ([], ["eve", "mal"])


def test_folders_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="got .*nowhere', which is no folder"):
        find(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="which holds none"):
        find(tmp_path)
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna.ipynb").write_bytes(DONE)
    with pytest.raises(ValueError, match="got two for 'anna'"):
        find(tmp_path)


def test_names_of_learning_platforms():
    for key, expected in (
        ("Jane Doe_123_assignsubmission_file", ("Jane Doe", "123")),
        ("doejane_55_901_lab4", ("doejane", "55")),
        ("doejane_LATE_55_901_lab4-1", ("doejane", "55")),
        ("Jane_Doe", ("Jane_Doe", "")),
    ):
        assert student_of(key) == Student(key, *expected)


# Similarity

LONG = """def standardised(values):
    centre = sum(values) / len(values)
    squares = [(value - centre) ** 2 for value in values]
    spread = (sum(squares) / len(squares)) ** 0.5
    if spread == 0:
        return [0 for value in values]
    return [(value - centre) / spread for value in values]"""


def test_renamed_copies_are_alike_and_others_are_not():
    renamed = LONG.replace("values", "v").replace("centre", "m").replace("spread", "s1")
    other = "\n".join(f"x{i} = {{'a': [{i}], **y[{i}:]}} @ z or not w.b({i})" for i in range(12))
    alike = similar({"a": [cell(LONG)], "b": [cell(f"# my own\n{renamed}")], "c": [cell(other)]})
    assert [(pair.a, pair.b) for pair in alike] == [("a", "b")]
    assert alike[0].share == 1


def test_what_everybody_writes_is_no_sign():
    assert similar({f"student {i}": [cell(LONG)] for i in range(12)}) == []


def test_unfinished_cells_are_compared_as_far_as_they_go():
    alike = similar({"a": [cell(LONG + "\nprint((")], "b": [cell(LONG + "\n'''")]})
    assert len(alike) == 1


def test_what_changes_is_said():
    changes = [ScoreChange("anna", "toy.weights", 0, 2), ScoreChange("ben", "toy.weights", None, 1)]
    assert difference(changes) == [
        "2 scores of 2 students change:",
        "  anna: toy.weights 0 -> 2",
        "  ben: toy.weights ? -> 1",
    ]
    assert difference([]) == ["no score changes"]
