"""Training on a ZeroGPU Space as a visitor meets it: what it will take, slot after slot, the day's quota gone, on with the CPU."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import App
from tests.browser.fake_runs import project_of
from tests.pace import PACE, set_pace, until_held
from tests.zero_gpu import DeviceAPI

pytestmark = pytest.mark.timeout(900)  # whatever is waited for has a shorter limit of its own
WAIT = 240_000  # milliseconds
PROXY = f"a.{base64.urlsafe_b64encode(json.dumps({'user': 'alice'}).encode()).decode()}.c"
"""Whose quota counts, as the Space's proxy tells it with every request."""


@pytest.fixture(scope="module")
def gpu() -> Iterator[DeviceAPI]:
    api = DeviceAPI()
    yield api
    api.close()


@pytest.fixture(scope="module")
def space(browser, gpu, tmp_path_factory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("space")
    environment = {**gpu.environment, PACE: str(folder)}
    running = App(folder / "workspace", folder / "app.log", program="tests/browser/zero_gpu_app.py", **environment).start()
    yield running
    running.stop()


@pytest.fixture
def pace(space) -> Iterator[Callable[..., None]]:
    """How fast trainings go here; none is kept waiting after the test."""
    yield functools.partial(set_pace, space.workspace.parent)
    set_pace(space.workspace.parent)


@pytest.fixture
def train(browser, space) -> Iterator[Page]:
    """The train step of a new visitor with the sample open."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, extra_http_headers={"X-IP-Token": PROXY})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(space.url)
    page.get_by_role("button", name="Open the sample").click()
    page.get_by_role("tab", name=re.compile("^Train")).click()
    expect(page.locator("#train-plan")).to_contain_text(" steps over ")
    yield page
    context.close()


def test_the_plan_says_gpu_seconds_and_slots_and_what_a_day_has(train):
    plan = train.locator("#train-plan")
    expect(plan).to_contain_text(re.compile(r"of GPU in (one slot|\d+ slots), a guess until one has run here"))
    expect(plan).to_contain_text("ZeroGPU gives 2 min a day without signing in, 5 min with a free account, 40 min with PRO")
    train.get_by_label("This Space's CPU").check()
    expect(plan).to_contain_text("going by the speed of this CPU")
    train.set_viewport_size({"width": 390, "height": 844})
    assert train.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_slots_then_the_quota_is_gone_then_the_cpu(train, space, gpu, pace):
    pace(seconds=1.2, hold=8)  # at most 7 steps fit into a slot of 10 seconds
    train.get_by_label("Quick check").check()
    expect(train.locator("#train-plan")).to_contain_text("45 steps")
    train.locator("#train-start").click()
    expect(train.locator("#train-stop")).to_be_visible()
    (run,) = project_of(train, space.workspace).runs()
    until_held(run.path, 8)
    state = train.locator("#train-state")
    expect(state).to_contain_text(re.compile(r"Step 7 of 45 on ZeroGPU, slot (?!1:)\d+"), timeout=WAIT)
    expect(train.locator("#train-facts")).to_contain_text("GPU used")
    gpu.quota, gpu.wait = 0.0, 7200
    pace(seconds=1.2)
    expect(state).to_contain_text("Your GPU time of today is used up", timeout=WAIT)
    expect(state).to_contain_text(re.compile(r"paused at step \d+ of 45"))
    expect(state).to_contain_text(re.compile(r"comes back at \d\d:\d\d UTC, in about (2 h|1\d\d min)"))
    assert run.status == "paused" and run.checkpoints()
    paused = run.info["steps"]
    assert {query["token"] for query in gpu.asked} == {quote(PROXY, safe="") if "%" in gpu.asked[0]["token"] else PROXY}
    gpu.answers.clear()
    train.locator("#train-continue").click()
    expect(state).to_contain_text("Waiting for a GPU", timeout=WAIT)
    expect(train.locator("#train-on-cpu")).to_be_hidden()
    gpu.answers.set()
    expect(train.locator("#train-on-cpu")).to_be_visible(timeout=WAIT)
    expect(state).to_contain_text("Your GPU time of today is used up")
    pace(hold=paused + 2)
    train.locator("#train-on-cpu").click()
    until_held(run.path, paused + 2)
    expect(state).to_contain_text(f"Step {paused + 1} of 45", timeout=WAIT)  # it goes on from where the GPU was taken away
    train.locator("#train-stop").click()
    train.get_by_role("button", name="Stop now").click()
    expect(train.locator("#train-continue")).to_be_visible(timeout=WAIT)


@pytest.mark.slow
def test_a_slot_goes_on_behind_a_closed_page_and_is_stopped_by_a_later_one(train, space, gpu, pace):
    gpu.reset()
    pace(hold=3)
    train.locator("#train-start").click()
    expect(train.locator("#train-stop")).to_be_visible()
    (run,) = project_of(train, space.workspace).runs()
    until_held(run.path, 3)
    expect(train.locator("#train-state")).to_contain_text("Step 2 of", timeout=WAIT)
    train.reload()
    train.get_by_role("tab", name=re.compile("^Train")).click()
    expect(train.locator("#train-stop")).to_be_visible()
    train.locator("#train-stop").click()
    expect(train.locator("#train-state")).to_contain_text("Stopping after this step", timeout=WAIT)
    pace()
    expect(train.locator("#train-state")).to_contain_text("stopped at step 3 of", timeout=WAIT)
    expect(train.locator("#train-continue")).to_have_text("Continue on ZeroGPU")
    expect(train.locator("#train-on-cpu")).to_have_text("Continue on the CPU")
    assert run.status == "paused" and run.checkpoints()
