"""JupyterLab under real Chromium: a server of its own, and pages whose cells are run."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, Page, TimeoutError, sync_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SETTINGS = {
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
TOKEN = "lab"
TRIES = 4  # JupyterLab may ask for a kernel, or lose it, until the page is reloaded


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab with settings of its own.

    Args:
        folder: for its settings and its log; notebooks are in its subfolder `notebooks`.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += [
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={folder / 'notebooks'}",
        f"--LabApp.app_settings_dir={_write_settings(folder)}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=_private(folder), stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api?token={TOKEN}", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _write_settings(folder: Path) -> Path:
    settings = folder / "app_settings"
    settings.mkdir()
    (settings / "overrides.json").write_text(json.dumps(SETTINGS))
    return settings


def _private(folder: Path) -> dict[str, str]:
    """An environment in which Jupyter reads and writes nothing of this machine's user."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    names += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    return {**os.environ, **{name: str(folder / name.lower()) for name in names}}


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(240):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, without a window."""
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


def write_notebook(path: Path, cells: dict[str, str]) -> None:
    """A notebook of code cells, by their ids."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(text, id=name) for name, text in cells.items()]
    nbformat.write(notebook, path)


def opened(browser: Browser, address: str, name: str, ready: Callable[[Page], bool]) -> Page | None:
    """A notebook whose cells were all run until it is ready; None where it got no kernel."""
    start_kernel(address, name)
    for _ in range(TRIES):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(30_000)
        try:
            page.goto(f"{address}/lab/tree/{name}?token={TOKEN}&reset")
            page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
            run_all_cells(page)
            if _gets_ready(page, ready):
                page.set_default_timeout(120_000)
                return page
        except TimeoutError:
            pass
        page.close()
    return None


def start_kernel(address: str, name: str) -> None:
    """Before the page opens, so that it seldom has to ask for one."""
    session = {"path": name, "name": name, "type": "notebook", "kernel": {"name": "python3"}}
    url = f"{address}/api/sessions?token={TOKEN}"
    request = urllib.request.Request(url, json.dumps(session).encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60):
        pass


def end_kernel(address: str, name: str) -> None:
    """A notebook's, as when the server is started another day."""
    url = f"{address}/api/sessions"
    with urllib.request.urlopen(f"{url}?token={TOKEN}", timeout=60) as answer:
        (session,) = (one for one in json.load(answer) if one["path"] == name)
    one = urllib.request.Request(f"{url}/{session['id']}?token={TOKEN}", method="DELETE")
    with urllib.request.urlopen(one, timeout=60):
        pass


def run_all_cells(page: Page) -> None:
    """From the menu, again if the click came before the kernel was there to take it."""
    page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").first.wait_for()
    started = page.locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|1)\]")).first
    for _ in range(5):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        time.sleep(5)
        if started.is_visible():
            return
    raise AssertionError("the cells did not start to run")


def _gets_ready(page: Page, ready: Callable[[Page], bool]) -> bool:
    """Whether it does; not where JupyterLab asks for a kernel or hears from none."""
    ran = page.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]"))
    n, last = 0, time.monotonic()
    while time.monotonic() - last < 60:
        if ready(page):
            return True
        if page.locator(".jp-Dialog").is_visible():
            return False
        if ran.count() != n:
            n, last = ran.count(), time.monotonic()
        time.sleep(0.2)
    return False
