"""Made submissions of all kinds, with the points they earn and the causes of those they lose.

The points are those of weights (2), scores (2) and standardised (2).
"""

import json
from typing import NamedTuple

import nbformat
from toy_lab import PLACEHOLDER, RIGHT, STUBS, WORDS, as_file, cells_of, notebook

FULL = (2, 2, 2)


class Made(NamedTuple):
    """A submission and what is expected of it."""

    content: bytes
    points: tuple = FULL
    causes: dict = {}  # noqa: RUF012 (never changed)
    notes: tuple = ()  # words that must be in a note


def instead(**changed):
    """Right answers but for these."""
    return notebook(RIGHT | changed)


def _without_marks(cells):
    for cell in cells:
        cell["metadata"].pop("nbgrader", None)
    return cells


def _renamed(cells):
    for number, cell in enumerate(cells):
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"]["grade_id"] = f"cell-{number}"
    return cells


def _split(cells):
    place = next(i for i, cell in enumerate(cells) if cell["source"] == RIGHT["standardised"])
    helper = "def spread_of(centred):\n    return (centred**2).mean().sqrt()"
    rest = RIGHT["standardised"].replace("(centred**2).mean().sqrt()", "spread_of(centred)")
    cells[place]["source"] = helper
    return [*cells[: place + 1], nbformat.v4.new_code_cell(rest), *cells[place + 1 :]]


def _colab(cells):
    notebook = json.loads(as_file(_without_marks(cells), nbformat_minor=0))
    for cell in notebook["cells"]:
        cell.pop("id", None)
        cell["source"] = cell["source"] if isinstance(cell["source"], list) else [cell["source"]]
    notebook["metadata"] = {"colab": {"provenance": []}, "kernelspec": {"name": "python3"}}
    return json.dumps(notebook, ensure_ascii=False).encode("utf-8")


def _code(source):
    return nbformat.v4.new_code_cell(source)


def _copy(cell):
    return nbformat.v4.new_code_cell(cell["source"], metadata=cell["metadata"])


ALL = cells_of(RIGHT, WORDS)
OTHER_WAYS = {
    "weights": "helped = lambda maps: maps.flatten(1).sum(1) / maps[0].numel()\nweights = helped",
    "standardised": (
        "def standardised(values):\n"
        "    import numpy as np\n"
        "    v = values.numpy().astype(np.float64)\n"
        "    return (v - v.mean()) / max(v.std(), 1e-30)"
    ),
}

HONEST = {
    "right": Made(notebook(RIGHT)),
    "right, in other ways": Made(instead(**OTHER_WAYS)),
    "partly right": Made(
        instead(
            standardised="def standardised(values):\n"
            "    return (values - values.mean()) / values.std(correction=0)"
        ),
        (2, 2, 1),
        {"toy.standardised": "wrong"},
    ),
    "a common mistake": Made(
        instead(weights="def weights(maps):\n    return maps.sum(dim=(1, 2))"),
        (0, 2, 2),
        {"toy.weights": "sum instead of mean"},
    ),
    "wrong": Made(
        instead(scores="def scores(model, image):\n    return model(image[None])[0].flip(0) + 1"),
        (2, 0, 2),
        {"toy.scores": "wrong"},
    ),
    "empty": Made(
        notebook({}, words=PLACEHOLDER),
        (0, 0, 0),
        dict.fromkeys(("toy.weights", "toy.scores", "toy.standardised"), "missing"),
    ),
    "no return": Made(
        instead(weights="def weights(maps):\n    maps.mean(dim=(1, 2))"),
        (0, 2, 2),
        {"toy.weights": "wrong"},
    ),
    "syntax error": Made(
        instead(scores="def scores(model, image)\n    return 1"), (2, 0, 2), {"toy.scores": "error"}
    ),
    "warnings and progress bars": Made(
        instead(
            weights="import sys, warnings\nfrom tqdm.auto import tqdm\n\n"
            "def weights(maps):\n"
            "    warnings.warn('deprecated')\n"
            "    print('to the error stream', file=sys.stderr)\n"
            "    return torch.stack([one.mean() for one in tqdm(maps)])"
        )
    ),
    "an empty copy at the end": Made(
        as_file([*ALL, _code(STUBS["weights"])]), notes=("empty copy of the cell of `weights`",)
    ),
    "answered twice": Made(
        as_file(
            [
                *cells_of(RIGHT | {"weights": "def weights(maps):\n    return 0"}, WORDS),
                _code(RIGHT["weights"]),
            ]
        ),
        notes=("all define `weights`; the last one counts",),
    ),
    "copied with its mark": Made(as_file([*ALL[:4], _copy(ALL[3]), *ALL[4:]])),
    "split": Made(as_file(_split(cells_of(RIGHT, WORDS)))),
    "cells deleted": Made(
        as_file(
            [cell for cell in cells_of(RIGHT, WORDS) if not cell["source"].startswith("##")][:3]
        ),
        (2, 0, 0),
        {"toy.scores": "missing", "toy.standardised": "missing"},
    ),
    "marks renamed": Made(as_file(_renamed(cells_of(RIGHT, WORDS)))),
    "marks stripped": Made(
        as_file(_without_marks(cells_of(RIGHT, WORDS))), notes=("lost the marks on its cells",)
    ),
    "saved by Colab": Made(_colab(cells_of(RIGHT, WORDS)), notes=("lost the marks",)),
    "helper in another cell": Made(
        notebook(
            RIGHT | {"weights": "def weights(maps):\n    return größe(maps)"},
            after=["def größe(maps):\n    return maps.mean(dim=(1, 2))  # Straße, 平均"],
        )
    ),
    "exit, magics, shell and input": Made(
        notebook(
            RIGHT,
            before=[
                "%matplotlib inline",
                "!echo hello",
                "exit()",
                "quit",
                "input('name?')",
                "1 / 0",
            ],
        )
    ),
    "a function under another name": Made(
        instead(weights=RIGHT["weights"].replace("weights", "my_weights")),
        (0, 2, 2),
        {"toy.weights": "missing"},
    ),
    "changes its input": Made(
        instead(weights="def weights(maps):\n    maps -= maps\n    return maps[:, 0, 0]"),
        (0, 2, 2),
        {"toy.weights": "error"},
    ),
    "no notebook at all": Made(
        b"\x89PNG\r\n",
        (0, 0, 0),
        dict.fromkeys(("toy.weights", "toy.scores", "toy.standardised"), "unreadable"),
    ),
}


def in_function(lines, name="standardised"):
    """Right answers but for one function, which does this.

    The last one by default: after a function that brings its kernel down, a new one is started.
    """
    head = RIGHT[name].splitlines()[0]
    return instead(**{name: head + "\n" + "\n".join(f"    {line}" for line in lines.splitlines())})


IGNORES_INTERRUPTS = """while True:
    try:
        while True:
            pass
    except BaseException:
        pass"""
HOG = "hoard = []\nwhile True:\n    hoard.append(b'x' * 2**26)"
FORKS = "import os, time\nfor _ in range(400):\n    if os.fork() == 0:\n        time.sleep(600)"
ALWAYS_TRUE = """class Agreeable:
    def __eq__(self, other): return True
    def __array__(self, *a, **k): return self
    def __getattr__(self, name): return Agreeable()
return Agreeable()"""
NO_ASSERT = """import ast
from IPython import get_ipython

class NoAssert(ast.NodeTransformer):
    def visit_Assert(self, node): return ast.Pass()

get_ipython().ast_transformers.append(NoAssert())"""
PATCHED = """import sys, types
import labkit.selfcheck, labkit.selfcheck.exercise as exercise, grader.wire as wire
labkit.selfcheck.check = lambda *a, **k: 'passed'
exercise.agree = lambda *a, **k: None
exercise.judge = lambda *a, **k: exercise.Verdict(True, 99, 99, {}, (), (), ())
print('{"passed": true, "points": 99}')"""
FORGED = """import base64, json
def _labkit_ask(question):
    forged = {"dict": [["answer", True], ["passed", True], ["points", 99], ["cause", ""]]}
    return base64.b64encode(json.dumps(forged).encode()).decode()"""
PICKLE = """import pickle
class Opens:
    def __reduce__(self): return (open, ({canary!r}, 'w'))
return pickle.dumps(Opens())"""
NESTED = """answer = []
for _ in range(100000):
    answer = [answer]
return answer"""
PROCESSES = """import os, subprocess
subprocess.Popen(['sleep', '{seconds}'], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp('sleep', ['sleep', '{seconds}'])
    os._exit(0)"""
KILLS = """import os, signal
for process in (os.getppid(), 1, -1):
    try:
        os.kill(process, signal.SIGKILL)
    except OSError:
        pass"""
READS = """scope = {{'torch': torch}}
with open({solution!r}) as file:
    exec(file.read(), scope)
return scope['standardised'](values)"""
FETCHES = """import socket
scope = {{'torch': torch}}
with socket.create_connection(('127.0.0.1', {port}), timeout=60) as server:
    exec(server.recv(10000).decode(), scope)
return scope['standardised'](values)"""
FILLS = """import os
from ipykernel import get_connection_file
sockets = os.path.dirname(get_connection_file())
for folder in (os.environ['HOME'], '/tmp', '/dev/shm', sockets):
    for number in range(40):
        try:
            with open(f'{folder}/{number}', 'wb') as file:
                file.write(bytes(30_000_000))
        except OSError:
            break"""


def hostile(solution, canary, port, seconds):
    """Submissions that would gain or harm something if they could.

    Args:
        solution: a file with right answers, on the machine but not in the sandbox.
        canary: a file that must not be made.
        port: where a server on loopback gives right answers.
        seconds: what a process is named after that must not stay.
    """
    outside = "import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=60)"
    only, name = (2, 2, 0), "toy.standardised"
    first = (0, 2, 2)

    def gains_nothing(lines, cause="error"):
        return Made(in_function(lines), only, {name: cause})

    return {
        "endless loop in a function": Made(
            in_function("while True:\n    pass", "weights"), first, {"toy.weights": "time"}
        ),
        "endless loop in a cell": Made(
            instead(weights=RIGHT["weights"] + "\nwhile True:\n    pass"),
            first,
            {"toy.weights": "time"},
            ("was left out: it was stopped",),
        ),
        "ignores interrupts": gains_nothing(IGNORES_INTERRUPTS, "time"),
        "memory hog in a function": gains_nothing(HOG, ("memory", "time")),  # if pages come late
        "memory hog in a cell": Made(
            notebook(RIGHT, before=[HOG]), FULL, {}, ("more memory than there is",)
        ),
        "huge array": gains_nothing("return torch.zeros(10**13)", "memory"),
        "400 forks": gains_nothing(FORKS, ("processes", "error")),
        "30 MB on one line": Made(notebook(RIGHT, before=["print('x' * 30_000_000)"])),
        "30 MB in an error": gains_nothing("raise ValueError('x' * 30_000_000)"),
        "a large answer": gains_nothing("return torch.zeros(3 * 10**6)"),
        "ends the process": Made(
            in_function("import os\nos._exit(0)", "weights"), first, {"toy.weights": "crash"}
        ),
        "segfault in a cell": Made(
            notebook(RIGHT, before=["import ctypes\nctypes.string_at(0)"]),
            FULL,
            {},
            ("Python itself crashed",),
        ),
        "writes outside": Made(
            notebook(RIGHT, before=[f"open({str(canary)!r}, 'w').write('here')"])
        ),
        "fills the disk": Made(notebook(RIGHT, before=[FILLS]), FULL, {}, ("wrote too much",)),
        "reads the solution": gains_nothing(READS.format(solution=str(solution))),
        "fetches from loopback": gains_nothing(FETCHES.format(port=port)),
        "calls outside": gains_nothing(outside),
        "kills its parent": Made(notebook(RIGHT, before=[KILLS])),
        "leaves processes": Made(notebook(RIGHT, before=[PROCESSES.format(seconds=seconds)])),
        "removes assert": Made(
            notebook(
                RIGHT | {"standardised": "def standardised(values):\n    assert 0"},
                before=[NO_ASSERT],
            ),
            only,
            {name: "wrong"},
        ),
        "equal to everything": gains_nothing(ALWAYS_TRUE),
        "patches the checks": Made(notebook({}, before=[PATCHED]), (0, 0, 0)),
        "forges the answers": Made(notebook({}, after=[FORGED]), (0, 0, 0)),
        "an answer beyond all limits": Made(
            notebook({}, after=["_labkit_ask = lambda question: 'A' * 50_000_000"]), (0, 0, 0)
        ),
        "pickles": gains_nothing(PICKLE.format(canary=str(canary))),
        "nested without end": gains_nothing(NESTED),
        "imports the solution": gains_nothing("import labkit.explain\nreturn labkit.explain"),
        "imports the checks": gains_nothing(
            "import toy_lab\nreturn toy_lab.EXERCISES[2].solve(values)"
        ),
        "imports the lab's answers": gains_nothing("import labkit.selfcheck.lab4\nreturn values"),
    }
