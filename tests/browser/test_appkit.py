"""The app kit in a browser: its JavaScript module reads the golden vectors, and the export step hands it to a visitor."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from pipeline.export import appkit
from pipeline.export.source import Source
from tests.appkit_world import hostile_dataset
from tests.browser.fake_runs import make_run, shown

READ = """async (folder) => {
  const [{ check }, kit, golden] = await Promise.all(
    [import(`${folder}/javascript/check.mjs`), import(`${folder}/javascript/tools.mjs`), fetch(`${folder}/vectors.json`).then((r) => r.json())]);
  return [check(golden), golden.vectors.length, kit.tools, kit.developer, kit.declarations, Object.keys(globalThis).includes("hacked")];
}"""


class Quiet(SimpleHTTPRequestHandler):
    """A folder as a static host serves it: modules need a JavaScript type."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path) -> Iterator[tuple[Path, str]]:
    """A kit with hostile texts, and its address."""
    folder = Path(appkit.write(Source(Path("nowhere"), hostile_dataset(), "kit"), tmp_path).path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/{folder.name}"
    server.shutdown()
    server.server_close()


def test_the_module_reads_the_golden_vectors_in_chromium(served, page):
    folder, address = served
    page.goto(f"{address}/tools.json")
    failed, count, tools, developer, declarations, hacked = page.evaluate(READ, address)
    golden = json.loads((folder / "vectors.json").read_text("utf-8"))
    assert (failed, count, hacked) == ([], len(golden["vectors"]), False)
    assert (developer, declarations) == (golden["developer"], golden["declarations"])
    names = [tool["function"]["name"] for tool in json.loads((folder / "tools.json").read_text("utf-8"))]
    assert [tool["function"]["name"] for tool in tools] == names


def test_one_click_downloads_the_kit_of_the_chosen_run(visitor, project, tmp_path):
    runs = [make_run(project, "First"), make_run(project, "Second")]
    shown(visitor, "Export")
    panel, picker = visitor.locator("#app-kit"), visitor.locator("#export-run input")
    expect(panel).to_contain_text("Dart, Kotlin, Swift, JavaScript, Python")
    for run in runs:
        picker.click()
        visitor.get_by_role("option", name=run.title).click()
        expect(picker).to_have_value(run.title)
        with visitor.expect_download() as started:
            panel.get_by_role("button", name="Download the app kit").click()
        expect(panel).to_contain_text(f"{run.title}: 9")
        started.value.save_as(tmp_path / "kit.zip")
        with zipfile.ZipFile(tmp_path / "kit.zip") as archive:
            assert {f"{run.title.lower()}-app-kit/{file}" for file in ("README.md", "dart/tools.dart")} <= set(archive.namelist())
        assert (tmp_path / "kit.zip").read_bytes() == Path(appkit.write(run, tmp_path).archive).read_bytes()
