"""Training in a Hugging Face Job, on the page: prices, cost, start, the live loss, a reload, the result; on the local Hub, whose Jobs really run."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.local_hub import LocalHub
from tests.local_hub_jobs import jobs_of
from tests.test_remote import everything_on

WAIT = 240_000  # milliseconds; loading the libraries alone takes 10 s on two free cores, and a Job does it three times


@pytest.fixture(scope="module")
def hub():
    with LocalHub() as server:
        yield server


@pytest.fixture(scope="module")
def alice(hub) -> str:
    return hub.user("alice", can_pay=True)


@pytest.fixture
def at_home(browser, at_alices):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(at_alices.url)
    page.get_by_role("button", name="Open the sample").click()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")
    page.get_by_role("tab", name=re.compile("^Train")).click()
    yield page
    context.close()


def open_offer(page) -> None:
    page.locator("#jobs-offer").get_by_role("button", name="Train on Hugging Face Jobs").click()
    expect(page.locator("#jobs-cost")).to_contain_text("at most $")


def test_a_run_is_trained_in_a_job_and_found_again_after_a_reload(at_home, at_alices, hub, alice):
    page = at_home
    page.locator("#train-advanced").get_by_role("button", name="Advanced").click()
    page.locator("#train-max_steps textarea, #train-max_steps input").fill("6")
    page.locator("#train-max_steps textarea, #train-max_steps input").blur()
    expect(page.locator("#train-plan")).to_contain_text("6 steps")
    assert not hub.asked("GET", "/api/jobs/hardware"), "nobody has opened the panel yet"
    open_offer(page)
    expect(page.locator("#jobs-cost")).to_contain_text("6 steps: about 5 min and $0.03")
    expect(page.locator("#jobs-hardware input")).to_have_value("Nvidia T4 - small, 16 GB: $0.40 an hour")
    page.get_by_role("button", name="Train in a Job").click()
    expect(page.locator("#jobs-state")).to_contain_text("Run 1 in a Hugging Face Job")
    expect(page.locator("#jobs-state")).to_contain_text("at most $0.20")
    expect(page.get_by_role("button", name="Cancel the Job")).to_be_visible()
    expect(page.locator("#train-continue")).to_be_hidden()
    page.reload()
    expect(page.locator("#jobs-state")).to_contain_text("Run 1 in a Hugging Face Job")
    expect(page.locator("#jobs-state")).to_contain_text(re.compile(r"Step \d of 6"), timeout=WAIT)
    expect(page.locator("#train-state")).to_contain_text("Run 1: trained", timeout=WAIT)
    expect(page.locator("#jobs-away")).to_be_hidden()
    expect(page.locator("#train-loss")).to_be_visible()
    (job,) = jobs_of(hub).made.values()
    assert job.stage == "COMPLETED" and job.spec["secrets"] == {"HF_TOKEN": alice} and job.spec["flavor"] == "t4-small"
    assert alice.encode() not in everything_on(at_alices.workspace) and alice not in at_alices.log_text() and alice not in page.content()


def test_a_refusal_is_a_sentence_and_a_cancelled_job_gives_the_run_back(at_home, hub, alice):
    page, jobs = at_home, jobs_of(hub)
    jobs.run, hub.users[alice].can_pay = False, False
    open_offer(page)
    page.get_by_role("button", name="Train in a Job").click()
    expect(page.locator(".toast-body")).to_contain_text("asks for a paid plan or credit")
    hub.users[alice].can_pay = True
    page.reload()
    expect(page.locator("#jobs-state")).to_contain_text("No Job was started; the files for it are in alice/")
    page.get_by_role("button", name="Start the Job").click()
    expect(page.locator("#jobs-state")).to_contain_text("waits for its hardware")
    page.get_by_role("button", name="Cancel the Job").click()
    expect(page.locator("#jobs-state")).to_contain_text("was cancelled")
    expect(page.locator("#train-continue")).to_be_visible()
    jobs.run = True


def test_without_an_account_the_panel_says_what_it_takes(page, app_url):
    page.goto(app_url)
    page.get_by_role("button", name="Open the sample").click()
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("300 examples")
    page.get_by_role("tab", name=re.compile("^Train")).click()
    page.locator("#jobs-offer").get_by_role("button", name="Train on Hugging Face Jobs").click()
    expect(page.locator("#jobs-cost")).to_contain_text("hf auth login")
    expect(page.locator("#jobs-start")).to_be_hidden()
