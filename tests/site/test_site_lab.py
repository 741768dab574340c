"""A chapter in JupyterLab, as a reader opens it: run by ``make site-test``."""

import re
import shutil
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from built_site import SITE

pytestmark = pytest.mark.site

CHAPTER = "02_gradients.ipynb"
TEXT = "[...document.querySelectorAll('.jp-Notebook .jp-RenderedMarkdown')].map((cell) => cell.innerText).join('\\n')"
LAST = "[...document.querySelectorAll('.jp-Notebook .jp-Cell')].pop().scrollIntoView()"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """The address of a JupyterLab that has one chapter and none of the user's settings."""
    for name in ("CONFIG", "RUNTIME", "DATA"):
        monkeypatch.setenv(f"JUPYTER_{name}_DIR", str(tmp_path / name))
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(tmp_path / "settings"))
    folder = tmp_path / "lab"
    folder.mkdir()
    shutil.copy(SITE / "_sources" / CHAPTER, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--IdentityProvider.token=",
        f"--notebook-dir={folder}",
    ]
    with subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], stderr=subprocess.DEVNULL) as server:
        for _ in range(120):
            try:
                urlopen(f"http://127.0.0.1:{port}/api/status")
                break
            except URLError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/lab/tree/{CHAPTER}"
        server.terminate()


def test_a_chapter_in_jupyterlab_has_its_formulas_and_no_raw_role(lab, tab):
    tab.goto(lab)
    tab.wait_for_selector(".jp-Notebook .jp-RenderedMarkdown mjx-container", state="attached")
    shown = tab.evaluate(TEXT)
    tab.evaluate(LAST)  # JupyterLab keeps only the cells near the window
    tab.wait_for_timeout(1000)
    shown += tab.evaluate(TEXT)
    assert "What the post proposes" in shown
    assert re.findall(r"\{[\w:-]+\}`|\$\S|^`{3,}|\\\\given", shown, flags=re.MULTILINE) == []
    assert tab.locator(".jp-Notebook mjx-merror").count() == 0
    assert tab.locator(".jp-Notebook .jp-CodeCell .jp-InputCollapser, .jp-Notebook .jp-Placeholder").count() > 0
