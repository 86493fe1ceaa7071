"""Tools out of files and pasted text; nothing in them is executed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.sources import tools_from
from pipeline.tools import ToolSpec, lint_tools

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PING = ToolSpec("ping", "Pings.", {"type": "object", "properties": {"host": {"type": "string", "description": "Whom"}}})
TEXT = json.dumps([PING.to_json()], indent=1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_and_its_text_give_the_same_tools(tmp_path, encoding):
    path = tmp_path / "tools.json"
    path.write_bytes(TEXT.encode(encoding))
    assert tools_from(path) == tools_from(str(path)) == tools_from(TEXT) == [PING]


def test_the_real_tools():
    path = SHARED / "flutter_gemma_tools.json"
    if not path.exists():
        pytest.skip("needs ../shared/data/flutter_gemma_tools.json")
    assert [tool.name for tool in tools_from(path)] == ["change_background_color", "change_app_title", "show_alert"]
    assert lint_tools(tools_from(path)) == []


def test_an_mcp_list_reads():
    path = SHARED / "formats" / "mcp_tools_list.json"
    if not path.exists():
        pytest.skip("needs ../shared/data/formats/mcp_tools_list.json")
    (tool,) = tools_from(path)
    assert tool.name == "set_light" and tool.parameters["properties"]["room"]["enum"] == ["kitchen", "hall"]
    assert {issue.field for issue in lint_tools([tool])} >= {"set_light.brightness", "set_light.color"}


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("", "The text is empty"),
        ("tools.json", "tools.json does not exist"),
        ("no/such/file", "does not exist"),
        ("hello", "The text: The tools are not usable: broken JSON"),
        ("[]", "No tools found"),
        ('[{"name": "f"}, {"description": "x"}]', "row 2, name"),
        ("def f(x: int) -> str:\n    '''Does it.'''\n", "Python source is not read yet; expected a JSON list"),
        ("openapi: 3.1.0\ninfo: {}\n", "An OpenAPI description is not read yet"),
        ('{"openapi": "3.1.0", "paths": {}}', "An OpenAPI description is not read yet"),
        ("[" * 100_000, "nested deeper"),
    ],
)
def test_what_is_not_read_is_said_in_a_sentence(source, sentence):
    with pytest.raises(DataError, match=sentence) as caught:
        tools_from(source)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_no_python_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = SHARED / "formats" / "tools.py"
    if not path.exists():
        pytest.skip("needs ../shared/data/formats/tools.py")
    with pytest.raises(DataError, match="Python source is not read yet"):
        tools_from(path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "tools.json"
    for content, sentence in ((b"", "is empty; expected a JSON list of function"), (b"\x00\x01\x02", "binary"), (b"PK\x03\x04", "zip archive")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=sentence):
            tools_from(path)
    with pytest.raises(DataError, match="is a folder"):
        tools_from(tmp_path)
