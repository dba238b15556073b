"""A Jupyter kernel in a sandbox: any Jupyter client can start one by the kernel's name.

`SandboxProvisioner` is an entry point of jupyter_client. A kernelspec that names it (`kernel_spec`)
runs in bubblewrap: no network, no processes but its own, nothing to write to but its own memory and
one folder of its own, nothing to read but Python and its packages. In place of labkit and of this
package there are stand-ins, so that no exercise can be answered with labkit's own solution.

What bubblewrap cannot limit, how much all processes hold together, is watched from outside.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Bool, Dict

import labkit

NAME = "labkit-sandbox"
GIB = 2**30
PACKAGES = (Path(labkit.__file__).parent, Path(__file__).parent)  # labkit and grader
HOME = "/home/student"
PREFIX = "labkit-kernel-"  # of the folders with a kernel's sockets

# What of the two packages is in the sandbox as it is: how to ask a function, and no answer.
SHARED = (
    "labkit/selfcheck/exercise.py",
    "labkit/selfcheck/networks.py",
    "grader/inside.py",
    "grader/wire.py",
)
NO_CHECK = '''"""While a notebook is graded, its public checks do nothing."""


def check(*arguments, **settings):
    """Nothing: the grader asks for itself."""
'''
INSTEAD = {
    "labkit/__init__.py": '"""labkit without its methods."""\n',
    "labkit/selfcheck": "",  # some of its modules are there
    "labkit/selfcheck/__init__.py": NO_CHECK,
    "grader/__init__.py": '"""The grader\'s side of a kernel."""\n',
}
NOT_THERE = """raise ImportError(
    "{name} is not there while a notebook is graded: solve the exercise without it"
)
"""


class Limits(NamedTuple):
    """What a sandbox may use."""

    memory: int = 2 * GIB  # bytes that all its processes hold together
    processes: int = 64
    disk: int = GIB // 16  # bytes in each place where it may write
    cpu: int = 600  # seconds of each process


class NoKernel(RuntimeError):
    """No kernel can be had here, which is no student's fault; the message says why."""


def why_not() -> str | None:
    """Why no sandbox can be had on this machine, and the way out; None where it can."""
    if platform.system() != "Linux":
        return (
            f"the sandbox needs Linux, this is {platform.system()}; grade on a Linux machine or in "
            "a Linux virtual machine or container"
        )
    if shutil.which("bwrap") is None:
        return (
            "the sandbox needs bubblewrap, and there is no `bwrap` here; install it: "
            "`sudo apt install bubblewrap` (Debian, Ubuntu), `sudo dnf install bubblewrap` (Fedora)"
        )
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        write_stand_in(Path(folder))
        done = subprocess.run(
            [*bubblewrap(Path(folder), Limits()), sys.executable, "-c", ""],
            capture_output=True,
            text=True,
            errors="replace",
        )
    if done.returncode == 0:
        return None
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return f"bubblewrap cannot make a sandbox here ({said}); {_way_out()}"


def _way_out() -> str:
    apparmor = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if apparmor.is_file() and apparmor.read_text().strip() == "1":
        return (
            "AppArmor keeps users from making namespaces: allow it to bwrap with a profile in "
            "/etc/apparmor.d, or to all until the next start with "
            "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
        )
    return (
        "user namespaces must be allowed: `sudo sysctl -w user.max_user_namespaces=10000`; in a "
        "container, start it with the right to make them (podman and docker: "
        "`--security-opt seccomp=unconfined --security-opt systempaths=unconfined`)"
    )


# What there is to see in the sandbox


def write_stand_in(folder: Path) -> Path:
    """Write a labkit and a grader that have no answers; returns the folder for Python's path."""
    stand_in = folder / "stand-in"
    for package in PACKAGES:
        for path in (*package.glob("*"), *package.glob("selfcheck/*")):
            name = path.relative_to(package.parent)
            if text := _instead_of(path, name):
                target = (stand_in / name).with_suffix(".py")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
    return stand_in


def _instead_of(path: Path, name: Path) -> str:
    """What the sandbox has in place of a file or package; nothing where that is no module."""
    if name.as_posix() in INSTEAD:
        return INSTEAD[name.as_posix()]
    if name.as_posix() in SHARED:
        return path.read_text(encoding="utf-8")
    if path.suffix == ".py" or (path / "__init__.py").is_file():
        return NOT_THERE.format(name=".".join(name.with_suffix("").parts))
    return ""


def bubblewrap(folder: Path, limits: Limits) -> list[str]:
    """What to write in front of a command to run it in the sandbox.

    Args:
        folder: holds the stand-in; the one place of the machine where the sandbox may write.
        limits: of its file systems in memory.
    """
    writable = [
        option
        for place in ("/tmp", HOME, "/dev/shm")
        for option in ("--size", str(limits.disk), "--tmpfs", place)
    ]
    stand_in = str(folder / "stand-in")
    return [
        "bwrap",
        *("--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"),
        *_no_further_namespaces(),
        *("--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--hostname", "labkit"),
        *_system(),
        *("--proc", "/proc", "--dev", "/dev", *writable),
        *_packages(stand_in),
        *_font_list(),
        *("--bind", str(folder), str(folder), "--ro-bind", stand_in, stand_in),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME, "--clearenv"),
        *(word for pair in environment(stand_in).items() for word in ("--setenv", *pair)),
        "--",
    ]


@lru_cache
def _no_further_namespaces() -> tuple[str, ...]:
    """Bubblewrap before 0.8 has no such option."""
    said = subprocess.run(["bwrap", "--help"], capture_output=True, text=True)
    return ("--disable-userns",) if "--disable-userns" in said.stdout + said.stderr else ()


def environment(stand_in: str) -> dict[str, str]:
    """The kernel's environment variables: nothing of the grader's own."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": HOME,
        "USER": "student",  # who has no line in /etc/passwd
        "LANG": "C.UTF-8",
        "PYTHONPATH": stand_in,
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "agg",
        "CUDA_VISIBLE_DEVICES": "",  # the same numbers for everybody
        **one_thread,
    }


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(name):
            yield from ("--symlink", os.readlink(name), name)
        elif os.path.isdir(name):
            yield from ("--ro-bind", name, name)
    for name in ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts", "/etc/localtime"):
        yield from ("--ro-bind-try", name, name)


def _packages(stand_in: str) -> Iterator[str]:
    """Python and its packages, but neither ours nor the course: deeper places come later."""
    prefixes = {sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)}
    steps = {path: ("--ro-bind", path, path) for path in prefixes if path != "/usr"}
    courses = set()
    for package in PACKAGES:
        course = str(package.parent)
        if package.parent.name in ("site-packages", "dist-packages"):
            steps[str(package)] = ("--ro-bind", f"{stand_in}/{package.name}", str(package))
        elif course not in steps:
            steps[course] = ("--size", "65536", "--tmpfs", course)
            courses.add(course)
    for path in sorted(steps, key=lambda path: len(Path(path).parts)):
        yield from steps[path]
    for course in courses:
        yield from ("--remount-ro", course)


def _font_list() -> Iterator[str]:
    """The fonts that matplotlib has found, where there is one: to make it anew takes seconds."""
    made = Path.home() / ".cache" / "matplotlib"
    for path in made.glob("fontlist-*.json"):
        yield from ("--ro-bind", str(path), f"{HOME}/.cache/matplotlib/{path.name}")


# The kernel


def kernel_spec(limits: Limits | None = None, *, sandboxed: bool = True) -> KernelSpec:
    """What Jupyter needs to know to start one.

    Args:
        limits: what it may use.
        sandboxed: False starts it with the limits of a process only, and without a sandbox.
    """
    limits = limits or Limits()
    of_a_process = {"FSIZE": limits.disk, "CPU": limits.cpu, "CORE": 0}
    if sandboxed and _counts_by_namespace():
        of_a_process["NPROC"] = limits.processes
    words = ",".join(f"{name}={value}" for name, value in of_a_process.items())
    config = {"sandboxed": sandboxed, "limits": limits._asdict()}
    return KernelSpec(
        argv=[
            *(sys.executable, "-m", "grader.inside", words),
            *("-f", "{connection_file}", "--HistoryManager.enabled=False"),
        ],
        display_name="Python in labkit's sandbox",
        language="python",
        interrupt_mode="message",  # a signal to bubblewrap would end it
        metadata={"kernel_provisioner": {"provisioner_name": NAME, "config": config}},
    )


def _counts_by_namespace() -> bool:
    """Whether Linux counts a sandbox's processes alone; else all that the user runs anywhere."""
    return tuple(int(part) for part in platform.release().split(".")[:2]) >= (5, 14)


def remove_leftovers(age: float = 86_400) -> None:
    """Remove folders whose grader was killed; no kernel lives for a day (`age`, in seconds)."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another grader removed it
            if not folder.is_symlink() and time.time() - folder.stat().st_mtime > age:
                shutil.rmtree(folder, ignore_errors=True)


class SandboxProvisioner(LocalProvisioner):
    """Starts a kernel in bubblewrap, with a folder of its own for the sockets."""

    sandboxed = Bool(True)
    limits = Dict()
    folder: Path | None = None
    watch: Watch | None = None
    log_file: IO[bytes] | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Make the folder, and put the sandbox in front of the command.

        Raises:
            NoKernel: bubblewrap is not there.
        """
        if self.sandboxed and shutil.which("bwrap") is None:
            raise NoKernel(why_not())
        if self.folder is None:
            remove_leftovers()
            self.folder = Path(os.path.realpath(tempfile.mkdtemp(prefix=PREFIX)))  # mode 0700
        stand_in = write_stand_in(self.folder)
        self.parent.connection_file = str(self.folder / "connection.json")
        if platform.system() != "Windows":
            self.parent.transport, self.parent.ip = "ipc", str(self.folder / "socket")
        kwargs = await super().pre_launch(**kwargs)
        if self.sandboxed:
            kwargs["cmd"] = [*bubblewrap(self.folder, self._limits()), *kwargs["cmd"]]
        else:
            kwargs["env"] = {**os.environ, **environment(str(stand_in)), "HOME": str(self.folder)}
            kwargs["env"]["PATH"], kwargs["cwd"] = os.environ["PATH"], str(self.folder)
        return kwargs

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Mapping[str, Any]:
        """Start it, and the watch over it; what it says is kept out of the grader's own output."""
        self.log_file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the kernel)
        kwargs = {**kwargs, "stdout": self.log_file, "stderr": self.log_file}
        info = await super().launch_kernel(cmd, **kwargs)
        self.watch = Watch(self.process.pid, self._limits(), self.folder)
        self.watch.start()
        return info

    async def cleanup(self, restart: bool = False) -> None:
        """Remove what is left of it."""
        await super().cleanup(restart=restart)
        if self.watch is not None:
            self.watch.stop()
        if self.log_file is not None:
            self.log_file.close()
        if self.folder is not None and not restart:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def last_words(self) -> str:
        """The last line that the kernel, or bubblewrap, wrote to its standard error."""
        if self.log_file is None or self.log_file.closed:
            return ""
        self.log_file.seek(max(0, self.log_file.seek(0, os.SEEK_END) - 1000))
        tail = self.log_file.read(1000).decode(errors="replace")
        return (tail.strip().splitlines() or [""])[-1]

    def _limits(self) -> Limits:
        return Limits(**self.limits)


class Watch(threading.Thread):
    """Ends a kernel whose processes together use too much.

    Attributes:
        reason: "memory", "processes" or "disk" once it had to; before, an empty text.
    """

    def __init__(self, pid: int, limits: Limits, folder: Path, *, pause: float = 0.2):
        super().__init__(name="labkit-watch", daemon=True)
        self.kernel, self.limits, self.folder = psutil.Process(pid), limits, folder
        self.pause, self.reason, self._end = pause, "", threading.Event()
        self._grader = psutil.Process()
        self._before = self._grader.memory_info().rss

    def run(self) -> None:
        """Look at it again and again."""
        while not self._end.wait(self.pause):
            try:
                self.reason = self._too_much()
            except psutil.NoSuchProcess:
                return
            except (psutil.Error, OSError):  # what was looked at has just ended
                continue
            if self.reason:
                self.kernel.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
                return

    def stop(self) -> None:
        """Stop looking."""
        self._end.set()
        self.join()

    def _too_much(self) -> str:
        processes = [self.kernel, *self.kernel.children(recursive=True)]
        if len(processes) > self.limits.processes:
            return "processes"
        answers = self._grader.memory_info().rss - self._before  # what it makes the grader hold
        if answers > self.limits.memory or self._hold_too_much(processes):
            return "memory"
        return "disk" if bytes_in(self.folder, self.limits.disk) > self.limits.disk else ""

    def _hold_too_much(self, processes: Sequence[psutil.Process]) -> bool:
        """Look closer, which takes longer, only where they would hold too much at the most."""
        return all(
            sum(map(measure, processes)) > self.limits.memory for measure in (_resident, _share)
        )


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # it has just ended
        return 0


def _share(process: psutil.Process) -> int:
    """Its memory, where what several processes share is counted once in all."""
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        return 1024 * int(text.partition("\nPss:")[2].split()[0])
    except (OSError, IndexError):  # it has just ended, or this is not Linux
        return _resident(process)


def bytes_in(folder: Path, enough: int) -> int:
    """Bytes in a folder, 4096 for each entry; stops to count at `enough`."""
    total, folders = 0, [folder]
    while folders and total <= enough:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    total += 4096 + getattr(status, "st_blocks", 0) * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    if total > enough:
                        break
        except OSError:  # it was removed meanwhile
            continue
    return total
