"""Talking to a student's kernel: cells in, answers out, and every way in which that can end.

The kernel's own output is never listened to; what a cell prints costs neither time nor memory here.
"""

from __future__ import annotations

import base64
import queue
import re
import time
from collections.abc import Mapping
from types import TracebackType

import zmq
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager

from grader.sandbox import NAME, Limits, NoKernel, kernel_spec
from grader.wire import MAX_TEXT, read, written
from labkit.selfcheck.exercise import CallFailed, Exercise, Question, Value

START = 120.0  # seconds until a kernel must answer, on a busy machine
MAX_MESSAGE = 32 * 2**20  # bytes; a longer one ends the connection
WORDS = {
    "memory": "it used more memory than there is for a notebook",
    "processes": "it started too many processes",
    "disk": "it wrote too much",
    "crash": "Python itself crashed or was ended",
}


class KernelGone(Exception):
    """The kernel ended, or had to be ended.

    Attributes:
        cause: "time", "memory", "processes", "disk" or "crash".
        text: what happened, in a sentence for the student.
    """

    def __init__(self, cause: str, text: str):
        super().__init__(cause, text)
        self.cause, self.text = cause, text


class Kernel:
    """A student's kernel, from its start until the end of the `with` block.

    Raises:
        NoKernel: it does not start.
    """

    def __init__(self, limits: Limits, *, sandboxed: bool = True):
        specs = _Specs(kernel_spec(limits, sandboxed=sandboxed))
        self._manager = KernelManager(kernel_name=NAME, kernel_spec_manager=specs)
        self._context = zmq.Context()
        self._context.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        self._context.setsockopt(zmq.RCVHWM, 8)

    def __enter__(self) -> Kernel:
        try:
            self._manager.start_kernel()
            self._client = self._manager.client(context=self._context)
            self._client.start_channels(iopub=False, stdin=False, hb=False, control=False)
            self._reply(self._client.kernel_info(), START)
            ready = self._execute("from grader.inside import ask as _labkit_ask", {}, START)
            if ready.get("status") != "ok":
                raise KernelGone("crash", str(ready.get("evalue", ""))[:MAX_TEXT])
        except KernelGone as gone:
            said = self._manager.provisioner.last_words() or gone.text
            self.close()
            raise NoKernel(f"the kernel did not start: {said}") from gone
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it, with all that it started."""
        if self._manager.has_kernel:
            self._manager.shutdown_kernel(now=True)
        self._context.destroy(linger=0)

    def run(self, source: str, seconds: float) -> str:
        """Run a cell.

        Returns:
            The error that it ended with, as "NameError: name 'x' is not defined", or an empty text.

        Raises:
            KernelGone: it took longer than `seconds`, or brought the kernel down.
        """
        content = self._execute(source, {}, seconds)
        if content.get("status") == "ok":
            return ""
        return f"{content.get('ename', 'error')}: {content.get('evalue', '')}"[:MAX_TEXT]

    def ask(self, exercise: Exercise, question: Question, seconds: float) -> Value:
        """What the student's function makes of a question.

        Raises:
            CallFailed: it gave nothing back.
            KernelGone: it took longer than `seconds`, or brought the kernel down.
        """
        request = {
            "function": exercise.function,
            "inputs": dict(question.inputs),
            "tensors": exercise.tensors,
            "gradient": question.gradient,
        }
        asked = f"_labkit_ask('{base64.b64encode(written(request)).decode('ascii')}')"
        answer = _answer_in(self._execute("", {"answer": asked}, seconds))
        if "failed" in answer:
            raise CallFailed(str(answer["failed"]), str(answer.get("text"))[:MAX_TEXT])
        return answer["answer"]

    def _execute(self, code: str, expressions: Mapping[str, str], seconds: float) -> dict:
        request = self._client.execute(
            code,
            store_history=False,
            user_expressions=dict(expressions),
            allow_stdin=False,
            stop_on_error=False,
        )
        return self._reply(request, seconds)

    def _reply(self, request: str, seconds: float) -> dict:
        """The content of the reply to a request; messages that are none are passed over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                message = self._client.shell_channel.get_msg(timeout=0.1)
                if message["parent_header"]["msg_id"] == request:
                    return dict(message["content"])
            except queue.Empty:
                self._check_alive()
            except Exception:  # noqa: S112 (a stranger's bytes may break in any way)
                continue
        self._check_alive()
        raise KernelGone("time", f"it was stopped after {seconds:.0f} s")

    def _check_alive(self) -> None:
        if not self._manager.is_alive():
            cause = self._manager.provisioner.watch.reason or "crash"
            raise KernelGone(cause, WORDS[cause])


class _Specs(KernelSpecManager):
    """Knows one kernel, which need not be installed."""

    def __init__(self, spec: KernelSpec):
        super().__init__()
        self._spec = spec

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return self._spec


def _answer_in(content: Mapping) -> dict:
    """The answer in a reply, whatever the student's code made of the reply.

    Raises:
        CallFailed: it is none.
    """
    try:
        expression = content["user_expressions"]["answer"]
        if expression["status"] != "ok":
            ended = f"{expression.get('ename')}: {expression.get('evalue')}"
            raise CallFailed("error", ended[:MAX_TEXT])
        quoted = re.fullmatch(r"'([A-Za-z0-9+/=]*)'", expression["data"]["text/plain"])
        answer = read(base64.b64decode(quoted[1], validate=True))
        if not isinstance(answer, dict) or not {"answer", "failed"} & set(answer):
            raise ValueError("neither an answer nor a failure")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CallFailed("error", "the kernel gave back no data") from None
    return answer
