"""Runs the notebooks in place and keeps their outputs; figures are kept as pictures, so that a code host shows them.

    python notebooks/execute.py                      all of them
    python notebooks/execute.py toy_models           one

For maintainers. Needs the `notebook` extra, and Chromium to draw. Cells run in an empty folder: findings are the recorded ones.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
ROOT = HERE.parent
PLOTLY = ROOT / "src/superscope/atlas/static/plotly-cartesian.min.js"
FIGURE, PICTURE = "application/vnd.plotly.v1+json", "image/png"
WIDTH = 760

sys.path.insert(0, str(ROOT / "tests/atlas"))
from chromium import Browser  # noqa: E402 - the one that looks at the atlas


def main(names: list[str]) -> None:
    paths = [HERE / f"{name}.ipynb" for name in names] or sorted(HERE.glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as empty:
        browser = open_browser(Path(empty))
        try:
            for path in paths:
                execute(path, browser, empty)
                print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")
        finally:
            browser.close()


def open_browser(folder: Path) -> Browser:
    """Chromium on a page that can draw."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no Chromium to draw the figures with: install chromium")
    page = folder / "figures.html"
    page.write_text(f'<meta charset="utf-8"><body><script src="{PLOTLY.as_uri()}"></script></body>', encoding="utf-8")
    browser = Browser(program, folder / "profile")
    browser.visit(page.as_uri(), draw=False)
    return browser


def execute(path: Path, browser: Browser, folder: str) -> None:
    """Run every cell; store outputs without what differs from one machine or moment to the next."""
    notebook = nbformat.read(path, as_version=4)
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"  # the kernel's figures come as JSON alone
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}})
    client.execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
        if cell.cell_type == "code":
            cell.outputs = [kept(output, browser) for output in joined(cell.outputs)]
    text = nbformat.writes(notebook)
    if machine := re.search(re.escape(str(ROOT)) + r"|/home/\w+|" + re.escape(folder), text):
        raise SystemExit(f"{path.name}: an output names a place on this machine, {machine[0]!r}")
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def joined(outputs: list[Any]) -> list[Any]:
    """Without warnings, and with what was printed piece by piece in one piece: how it was cut is chance."""
    out: list[Any] = []
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        if out and output.output_type == out[-1].output_type == "stream":
            out[-1].text += output.text
        else:
            out.append(output)
    return out


def kept(output: Any, browser: Browser) -> Any:
    """An output as it is stored: text, and a figure's picture in place of the figure."""
    data = output.get("data", {})
    if FIGURE in data:
        output["data"] = {PICTURE: picture(data[FIGURE], browser), "text/plain": "Figure"}
    return output


def picture(figure: dict[str, Any], browser: Browser) -> str:
    """A Plotly figure as PNG in base64, on white."""
    layout = figure["layout"]
    height = layout.get("height", 380)
    layout |= {"font": {"family": "sans-serif", "size": 13, "color": "#444444"}, "paper_bgcolor": "white"}
    drawn = json.dumps({"data": figure["data"], "layout": layout})
    address = browser.ask(f"Plotly.toImage({drawn}, {{format: 'png', width: {WIDTH}, height: {height}, scale: 1}})")
    return address.split(",", 1)[1]


if __name__ == "__main__":
    main(sys.argv[1:])
