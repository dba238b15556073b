"""Execute notebooks in place and keep only what is the same at every run: `make notebooks`.

    python tools/execute_notebooks.py [NOTEBOOK...]

A notebook that fails is left as it was. Timestamps, the kernel's version and live widgets (each
has a random name, and shows nothing without its kernel) are left out.
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
KEPT_IN_NOTEBOOK = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
NOISE_IN_CELL = ("execution", "ExecuteTime", "collapsed", "scrolled")
WIDGET = "application/vnd.jupyter.widget-view+json"


def main(names: list[str]) -> int:
    """Execute these notebooks, or all; return the exit code."""
    paths = [Path(name) for name in names] or sorted(NOTEBOOKS.glob("*.ipynb"))
    failed = [path.name for path in paths if not execute(path)]
    if failed:
        print(f"failed, and left as they were: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def execute(path: Path) -> bool:
    """Run one notebook from its own folder; False if a cell failed."""
    print(f"{path.name} ...", end=" ", flush=True)
    start = time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        print(f"\n{error}", file=sys.stderr)
        return False
    write(without_noise(notebook), path)
    print(f"{time.perf_counter() - start:.0f} s")
    return True


def without_noise(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what differs between two runs or two machines."""
    notebook.metadata = nbformat.from_dict(KEPT_IN_NOTEBOOK)
    for cell in notebook.cells:
        for name in NOISE_IN_CELL:
            cell.metadata.pop(name, None)
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if WIDGET not in one.get("data", {})]
    return notebook


def write(notebook: NotebookNode, path: Path) -> None:
    """Replace the notebook's file, if its content differs."""
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if text != path.read_text(encoding="utf-8"):
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
