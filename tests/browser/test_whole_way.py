"""The whole job as a new user does it in the browser: sample, quick training, evaluation, playground, a checked file on their disk.

In at most ten clicks, without a word of documentation. Everything is real: the app, its jobs, the embedded base, the LiteRT-LM runtime.
"""

from __future__ import annotations

import hashlib
import re
import time

import pytest
from playwright.sync_api import Page, expect

from pipeline.export import inspect
from pipeline.ui.evaluate_view import VERDICTS

MOST_CLICKS = 10
WAIT = 600_000  # milliseconds for each long step; on two free cores each takes about one minute


class Clicks:
    """Counts what a person has to click."""

    def __init__(self, page: Page):
        self.page, self.count = page, 0

    def button(self, name: str) -> None:
        self._click(self.page.get_by_role("button", name=name, exact=True))

    def radio(self, name: str) -> None:
        self._click(self.page.get_by_label(name))

    def tab(self, name: str) -> None:
        self._click(self.page.get_by_role("tab", name=re.compile(f"^{name}")))

    def _click(self, locator) -> None:
        locator.locator("visible=true").first.click()
        self.count += 1


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_from_the_first_page_to_a_checked_file(page, app, tmp_path):
    page.set_default_timeout(60_000)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    click, began = Clicks(page), time.monotonic()
    page.goto(app.url)

    click.button("Open the sample")
    expect(page.get_by_role("tab", name=re.compile("^Dataset"))).to_contain_text("5 tools, 300 examples")

    click.button("Next: train a model")
    click.radio("Quick check")
    expect(page.locator("#train-plan")).to_contain_text(re.compile(r"\d+ steps over 270 examples"))
    click.button("Train")
    expect(page.locator("#train-state")).to_contain_text(re.compile(r"Step \d+ of \d+"), timeout=WAIT)
    expect(page.locator("#train-next")).to_be_visible(timeout=WAIT)
    expect(page.locator("#train-loss")).to_contain_text("validation")
    expect(page.locator("#train-answers article")).to_have_count(5)

    click.button("See how well it does")
    click.button("Evaluate")
    expect(page.locator("#evaluate-next")).to_be_visible(timeout=WAIT)
    expect(page.locator("#evaluate-score .big")).to_contain_text(re.compile(r"\d+%.*→.*\d+%"))
    expect(page.locator("#evaluate-rows tbody tr")).to_have_count(30)
    verdict = page.locator("#evaluate-rows tbody tr").first.locator("td").last.locator("div").last
    assert verdict.inner_text() in VERDICTS.values()

    click.button("Talk to it")
    expect(page.get_by_text("Requests that training does not see")).to_be_visible()
    page.get_by_label("Request", exact=True).fill("turn the kitchen light on")
    page.keyboard.press("Enter")
    for who in ("base", "tuned"):
        expect(page.locator(f"#{who}-answer .figures")).to_contain_text("tokens/s", timeout=WAIT)

    click.tab("Export")
    click.button("Make the file")
    expect(page.locator("#export-litertlm-state")).to_contain_text(
        re.compile(r"\d+ of 20 answers identical to the model's, \d"), timeout=WAIT
    )
    with page.expect_download() as download:
        click.button("Download")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    minutes = (time.monotonic() - began) / 60
    print(f"{click.count} clicks, {minutes:.1f} minutes")

    assert file.suffix == ".litertlm"
    assert hashlib.sha256(file.read_bytes()).hexdigest() in page.locator("#export-litertlm").inner_text()
    found = inspect(file)
    assert found["format"] == "litertlm" and found["problems"] == []
    assert click.count <= MOST_CLICKS
    assert errors == []
    for step, words in {"Train": "done", "Evaluate": "exact", "Export": "1 file"}.items():
        expect(page.get_by_role("tab", name=re.compile(f"^{step}"))).to_contain_text(words)

    page.reload()
    expect(page.locator("#export-litertlm-download")).to_be_visible()
    page.get_by_role("tab", name=re.compile("^Train")).click()
    expect(page.locator("#train-state")).to_contain_text("trained")
