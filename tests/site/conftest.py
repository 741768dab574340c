"""One browser for all checks of the built site, and a server of the site."""

import functools
import http.server
import threading
from pathlib import Path

import pytest
from built_site import CHROMIUM_ARGS, SITE, chromium_path, window
from playwright.sync_api import sync_playwright


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the site, and a bare page that waits for the same MathJax, to compare with."""

    def translate_path(self, path):
        return str(Path(__file__).with_name("bare.html")) if path == "/bare.html" else super().translate_path(path)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def bases():
    """Return where the site begins, as served and as files."""
    handler = functools.partial(Handler, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"http": f"http://127.0.0.1:{server.server_port}", "file": SITE.as_uri()}
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser):
    context = window(browser)
    yield context.new_page()
    context.close()
