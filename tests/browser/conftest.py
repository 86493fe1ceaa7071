"""A real browser and the real app: Chromium from the system's packages, `python app.py` in a process of its own."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HOW_TO_GET_IT = "Chromium was not found: install it (Debian, Ubuntu: `apt-get install chromium`) or name it in CHROMIUM=/path"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
STARTUP_SECONDS = 240
EXPECT_SECONDS = 60  # costs time only where something fails; a busy machine needs more than Playwright's 5


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def find_chromium() -> str | None:
    """The browser's program: the environment's CHROMIUM, else the usual names of the system's package."""
    names = (os.environ.get("CHROMIUM"), "/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Playwright's browser (sync API). Without Chromium the test skips, or fails where STUDIO_TESTS_NEED_BROWSER is set."""
    executable = find_chromium()
    if executable is None:
        if os.environ.get("STUDIO_TESTS_NEED_BROWSER"):
            pytest.fail(HOW_TO_GET_IT)
        pytest.skip(HOW_TO_GET_IT)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=EXPECT_SECONDS * 1000)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser) -> Iterator:
    """A page of a visitor nobody has seen before (own cookies, own storage), 1280 x 900."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(60_000)
    opened = context.new_page()
    yield opened
    context.close()


def free_port() -> int:
    """A port below those that systems give to whoever asks for any: nobody takes it before the app, seconds later, is loaded."""
    for port in random.SystemRandom().sample(range(20_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("100 ports were tried, and none is free")


class App:
    """`python app.py` on a port and a workspace of its own, with more environment if named; `stop` and `start` again to see what survives."""

    def __init__(self, workspace: Path, log: Path, program: str = "app.py", **environment: str):
        self.workspace, self.log, self.program, self.environment = workspace, log, program, environment
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> App:
        """Returns once the first page is answered; fails with the app's log after STARTUP_SECONDS."""
        environment = {
            **os.environ, "STUDIO_WORKSPACE": str(self.workspace), "GRADIO_SERVER_PORT": str(self.port),
            "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", **self.environment,
        }  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, self.program], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(self.url, timeout=5).read()
                return self
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        self.stop()
        pytest.fail(f"the app did not answer within {STARTUP_SECONDS} s; its log ends with:\n{self.log_text()[-3000:]}")

    def stop(self) -> None:
        """Ends the server and what it started."""
        if self.process is None:
            return
        for end in (self.process.terminate, self.process.kill):
            end()
            try:
                self.process.wait(10)
                break
            except subprocess.TimeoutExpired:
                continue
        with contextlib.suppress(ProcessLookupError):  # a worker that `spaces` forked; jobs lead groups of their own and go on
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process = None

    def log_text(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""


@pytest.fixture(scope="session")
def app(browser, tmp_path_factory) -> Iterator[App]:
    """The app, shared by all browser tests of the session: a visitor's projects are their own, so tests do not meet.

    Asks for `browser` first, so that no app is started where there is nothing to look at it with.
    """
    folder = tmp_path_factory.mktemp("app")
    running = App(folder / "workspace", folder / "app.log").start()
    yield running
    running.stop()


@pytest.fixture
def app_url(app: App) -> str:
    return app.url


@pytest.fixture(scope="module")
def at_alices(browser, hub, alice, tmp_path_factory) -> Iterator[App]:
    """The app on the computer of somebody who has done `hf auth login`: `hub` and `alice`, her token there, are the file's own."""
    folder = tmp_path_factory.mktemp("alice")
    running = App(folder / "workspace", folder / "app.log", **hub.environment(folder / "hf", alice), OMP_NUM_THREADS="1").start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def visitor(browser, app) -> Iterator:
    """One new visitor with the sample open, for all tests of a file."""
    from playwright.sync_api import expect

    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(app.url)
    page.get_by_role("button", name="Open the sample").click()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")
    yield page
    context.close()


@pytest.fixture
def project(visitor, app) -> Iterator:
    """The visitor's project; runs that a test made are gone after it."""
    from tests.browser.fake_runs import project_of

    found = project_of(visitor, app.workspace)
    yield found
    for run in found.runs():
        run.delete()
