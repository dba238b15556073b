"""What runs in the student's kernel: it starts there, and answers the grader's questions.

Nothing here is trusted by the grader: the student's code may replace every line of it. Its only
product is data, which is judged elsewhere.
"""

from __future__ import annotations

import base64
import sys

from grader.wire import MAX_TEXT, read, written
from labkit.selfcheck.exercise import CallFailed, Question, asked_here

MAX_ANSWER = 8 * 2**20  # bytes
TORCH_HAS_NO_MEMORY = "can't allocate memory"


def ask(question: str) -> str:
    """Call a function of the notebook; the answer is base64, so that it has no quotes.

    Args:
        question: base64 of a dict: function, inputs, tensors, gradient.
    """
    asked = read(base64.b64decode(question))
    try:
        answer = {"answer": _answer(asked)}
        content = written(answer)
        if len(content) > MAX_ANSWER:
            raise CallFailed("error", f"the answer has {len(content) >> 20} MB, which is too much")
    except CallFailed as failure:
        content = written({"failed": failure.cause, "text": failure.text})
    except TypeError as error:
        content = written({"failed": "error", "text": str(error)})
    return base64.b64encode(content).decode("ascii")


def _answer(asked: dict) -> object:
    from IPython import get_ipython

    name = asked["function"]
    function = get_ipython().user_ns.get(name)
    if function is None:
        raise CallFailed("missing", f"there is no function `{name}`")
    if not callable(function):
        raise CallFailed("error", f"`{name}` is a {type(function).__name__}, not a function")
    call = asked_here(function, tensors=asked["tensors"])
    try:
        return call(Question("", asked["inputs"], gradient=asked["gradient"]))
    except CallFailed as failure:
        if isinstance(failure.__cause__, MemoryError) or TORCH_HAS_NO_MEMORY in failure.text:
            raise CallFailed("memory", "there was not enough memory") from failure
        raise CallFailed(failure.cause, failure.text[:MAX_TEXT]) from failure


def start(limits: dict[str, int], arguments: list[str]) -> None:
    """Limit this process, then become an IPython kernel.

    Args:
        limits: by the names of the module `resource`, without "RLIMIT_".
        arguments: for the kernel.
    """
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        for name, value in limits.items():
            kind = getattr(resource, f"RLIMIT_{name}")
            highest = resource.getrlimit(kind)[1]
            value = value if highest == resource.RLIM_INFINITY else min(value, highest)
            resource.setrlimit(kind, (value, value))
    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance()
    app.initialize(arguments)
    app.shell.ask_exit = lambda: None  # `exit()` in a cell ends the cell's work, not the kernel
    app.start()


if __name__ == "__main__":
    start({k: int(v) for k, v in (one.split("=") for one in sys.argv[1].split(","))}, sys.argv[2:])
