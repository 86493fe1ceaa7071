"""Files of the wild: every format, every encoding, every bad file refused in a sentence, every value kept."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset import validate
from pipeline.errors import DataError
from pipeline.importers import read
from pipeline.tools import ToolCall, lint_tools
from tests.import_world import ANY, ASK, FORMATS, KITCHEN, PASTA, SHARED, TOOLS, check_counts, write

# --- the formats that are given -----------------------------------------------------------------------------------------

GIVEN = {
    "flutter_guide.jsonl": ([("kitchen lights on", [KITCHEN], ""), ("four minutes for the eggs", [ToolCall("start_timer", {"minutes": 4, "label": "eggs"})], "")], 0),
    "skill.csv": ([("kitchen lights on", [KITCHEN], ""), ("ten minutes, pasta", [PASTA], "")], 0),
    "tuning_lab.csv": ([("kitchen lights on", [KITCHEN], ""), ("ten minutes, pasta", [PASTA], "")], 0),
    "mobile_actions.jsonl": (
        [
            ("lights off in the hall and start a 5 minute timer", [ToolCall("set_light", {"room": "hall", "on": False}), ToolCall("start_timer", {"minutes": 5})], ""),
            ("dim the bedroom to 20", [ToolCall("set_light", {"room": "bedroom", "on": True, "brightness": 20})], ""),
        ],
        1,
    ),
    "trl.jsonl": (
        [("kitchen lights on", [KITCHEN], ""), ("who won the 1998 world cup?", [], "I can only switch lights and start timers."),
         ("start 3 minutes for tea", [], "Your tea timer is running.")],
        0,
    ),
    "openai.jsonl": ([("kitchen lights on", [KITCHEN], "")], 0),
    "user_prompt_calls.jsonl": ([("lights on and three minutes", [KITCHEN, ToolCall("start_timer", {"minutes": 3})], "")], 0),
}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_a_format_reads_as_it_was_meant(name):
    if not (FORMATS / name).exists():
        pytest.skip(f"needs ../shared/data/formats/{name}")
    expected, changed = GIVEN[name]
    brings_tools = name in ("mobile_actions.jsonl", "trl.jsonl", "openai.jsonl")
    found, report = read(FORMATS / name, None if brings_tools else TOOLS)
    assert [(row.request, row.calls, row.reply_text) for row in found.examples] == expected
    assert repr([row.calls for row in found.examples]) == repr([calls for _, calls, _ in expected])  # 5 is not 5.0
    check_counts(report)
    assert (report.read, report.changed, report.refused) == (len(expected), changed, 0)
    assert [tool.name for tool in found.tools] == ["set_light", "start_timer"] and all(row.tools is None for row in found.examples)
    assert not [issue for issue in [*validate(found), *lint_tools(found.tools)] if issue.severity == "error"]


def test_mobile_actions_keep_split_and_date_and_lose_capitals_and_fillers():
    if not FORMATS.exists():
        pytest.skip("needs ../shared/data/formats")
    found, report = read(FORMATS / "mobile_actions.jsonl")
    assert [row.split for row in found.examples] == ["train", "test"]
    assert "2026-03-01T08:10:00" in found.examples[0].messages[0]["content"]
    assert found.tools[0].parameters["type"] == "object" and found.tools[0].parameters["properties"]["on"]["type"] == "boolean"
    assert {issue.field for issue in report.issues} == {
        "messages[2].tool_calls[0].brightness", "messages[2].tool_calls[1].label", "tools",
    }  # fmt: skip


def test_the_real_rows_come_in_whole():
    path = SHARED / "data" / "flutter_gemma_training_data.jsonl"
    if not path.exists():
        pytest.skip("needs ../shared/data/flutter_gemma_training_data.jsonl")
    found, report = read(path, (SHARED / "data" / "flutter_gemma_tools.json").read_text("utf-8"))
    assert (report.read, report.imported, report.changed, report.refused) == (320, 320, 0, 0)
    assert validate(found) == [] and lint_tools(found.tools) == []
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [(row.request, row.calls[0].arguments) for row in found.examples] == [(r["user_content"], json.loads(r["tool_arguments"])) for r in rows]


# --- files as they come ---------------------------------------------------------------------------------------------------

ROWS = [("Küche: Licht an", "set_light", '{"room": "Küche", "on": true}'), ("ten minutes; pasta", "start_timer", '{"minutes": 10, "label": "pasta"}')]
EXPECTED = [ToolCall("set_light", {"room": "Küche", "on": True}), PASTA]


def as_csv(rows, delimiter=",", header=(), end="\r\n") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows([*([header] if header else []), *rows])
    return out.getvalue()


HEADER = ("user_content", "tool_name", "tool_arguments")
FILES = {
    "plain.csv": as_csv(ROWS),
    "header.csv": as_csv(ROWS, header=HEADER),
    "header in capitals.csv": as_csv(ROWS, header=[name.upper() for name in HEADER]),
    "header in short words.csv": as_csv(ROWS, header=("request", "tool", "arguments")),
    "header of functions.csv": as_csv(ROWS, header=("request", "function", "arguments")),
    "mark.csv": b"\xef\xbb\xbf" + as_csv(ROWS, header=HEADER).encode(),
    "semicolons.csv": as_csv(ROWS, ";", HEADER),
    "semicolons, no header.csv": as_csv(ROWS, ";"),
    "Excel's own first line.csv": "sep=;\r\n" + as_csv(ROWS, ";", HEADER),
    "tabs.tsv": as_csv(ROWS, "\t"),
    "bars.csv": as_csv(ROWS, "|"),
    "unix.csv": as_csv(ROWS, end="\n"),
    "windows.csv": as_csv(ROWS, header=HEADER).encode("cp1252"),
    "utf-16.csv": as_csv(ROWS, header=HEADER).encode("utf-16"),
    "blank lines.csv": "\n" + as_csv(ROWS, end="\n\n"),
    "spaces.csv": 'Küche: Licht an, set_light, "{""room"": ""Küche"", ""on"": true}"\nten minutes; pasta, start_timer, "{""minutes"": 10, ""label"": ""pasta""}"',
    "lines.jsonl": "\n".join(json.dumps(dict(zip(HEADER, row, strict=True)), ensure_ascii=False) for row in ROWS),
    "lines with mark.jsonl": "\ufeff" + "\r\n\r\n".join(json.dumps(dict(zip(HEADER, row, strict=True))) for row in ROWS),
    "list.json": json.dumps([dict(zip(HEADER, row, strict=True)) for row in ROWS], indent=1),
    "object.json": json.dumps({"data": [dict(zip(HEADER, row, strict=True)) for row in ROWS]}, indent=1),
    "no suffix": json.dumps([dict(zip(HEADER, row, strict=True)) for row in ROWS]),
    "lists.json": json.dumps([list(row) for row in ROWS]),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_whatever_its_dress(tmp_path, name):
    found, report = read(write(tmp_path, name, FILES[name]), TOOLS)
    assert [row.calls for row in found.examples] == [[call] for call in EXPECTED]
    assert [row.request for row in found.examples] == [row[0] for row in ROWS]
    assert (report.imported, report.changed, report.refused) == (2, 0, 0)
    assert bool(report.issues) == (name == "windows.csv")


BAD = {
    "empty": (b"", "is empty"),
    "only blanks": (b"\xef\xbb\xbf \n\n", "is empty"),
    "binary": (bytes(range(256)) * 10, "not text|binary"),
    "image": (b"\x89PNG\r\n\x1a\n\x00\x00", "not text|binary"),
    "workbook": (b"PK\x03\x04rest", "Excel workbook or a zip"),
    "parquet": (b"PAR1rest", "Parquet"),
    "archive": (b"\x1f\x8brest", "gzip"),
    "cut json": (b'[{"user_content": "a", "tool', "broken JSON"),
    "cut line": (b'{"user_content": "a", "tool_name": "f"}\n{"user_content": "b", "to', "row 2: broken JSON"),
    "two broken lines": (b'{"a": 1}\n{"a": }\n{"a": 2}\nx\n', "2 broken of 4 lines.*row 2: .*row 4: "),
    "not a number": (b'{"user_content": "a", "tool_name": "f", "tool_arguments": {"x": NaN}}\n', "NaN is not a number"),
    "too large a number": (b'{"x": 1e999}', "larger than a number"),
    "a key twice": (b'{"x": 1, "x": 2}', "given twice"),
    "deep": (b"[" * 100_000, "nested deeper than 80"),
    "deep row": (b'{"user_content": ' + b'{"a":' * 500 + b"1" + b"}" * 501, "nested deeper than 80"),
    "long integer": (b'{"x": ' + b"9" * 5000 + b"}", "more than 4300 digits"),
    "no rows": (b"[]", "holds no rows"),
    "header only": (b"user_message,tool_calls\n", "holds no rows"),
    "other columns": (b'{"name": "x", "age": 3}\n', "found the columns name, age"),
    "prose": (b"Hello there.\nThis is a letter.\n", "none of 2 rows could be read"),
    "numbers": (b"[1, 2]", "none of 2 rows"),
    "json without quotes": (b'user_message,tool_calls\na,[{"name": "f", "args": {}}]\n', "from line 2 on .*quote the cell"),
    "open quote": (b'a,set_light,"{""room"": ""x""}\nb,c,d\n', "from line 1 on"),
    "columns twice": (b"tool_name,user_content,tool_name\na,b,c\n", "two columns of one name"),
    "tools": (b'[{"name": "f", "description": "d", "parameters": {}}]', "holds tools, not examples; give it as the tools .--tools FILE"),
    "tools of MCP": (b'{"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "f", "inputSchema": {}}]}}', "holds tools, not examples"),
    "tools with answers": (b'{"tools": [{"name": "f", "description": "d"}], "answers": "x"}', "found the columns tools, answers"),
    "no tools": (b'{"user_content": "a", "tool_name": "f", "tool_arguments": {}}\n', "has calls but no tools.*--tools"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path, case):
    content, sentence = BAD[case]
    with pytest.raises(DataError, match=sentence) as caught:
        read(write(tmp_path, "rows.txt", content), None if case == "no tools" else TOOLS)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("rows.txt") and str(caught.value).endswith(".")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "none.csv", TOOLS)
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path, TOOLS)
    with pytest.raises(DataError, match="cannot be read"):
        read("nul\0", TOOLS)


def test_sizes_are_bounded(tmp_path, monkeypatch):
    path = write(tmp_path, "a.jsonl", [{"user_content": "a", "tool_name": "set_light"}] * 5)
    monkeypatch.setattr("pipeline.rowfiles.MAX_ROWS", 4)
    with pytest.raises(DataError, match="5 rows, more than the 4"):
        read(path, TOOLS)
    monkeypatch.setattr("pipeline.rowfiles.MAX_BYTES", 100)
    with pytest.raises(DataError, match="more than the 0 MB"):
        read(path, TOOLS)


# --- every value survives -------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**17, 10**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize("dress", ["mapping", "text", "csv", "calls", "messages"])
@given(value=JSON)
@settings(max_examples=25, deadline=None)
def test_arguments_of_any_type_survive_the_import(tmp_path_factory, dress, value):
    arguments = {"value": value}
    text = json.dumps(arguments, ensure_ascii=False)
    content = {
        "mapping": [{"user_content": "x", "tool_name": "f", "tool_arguments": arguments}],
        "text": [{"user_content": "x", "tool_name": "f", "tool_arguments": text}],
        "csv": as_csv([("x", "f", text)]),
        "calls": as_csv([("x", json.dumps([{"name": "f", "args": arguments}], ensure_ascii=False))], header=("user_message", "tool_calls")),
        "messages": [{"messages": [ASK, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": text}}]}]}],
    }[dress]
    found, report = read(write(tmp_path_factory.mktemp("rows"), "rows", content), [ANY])
    assert repr(found.examples[0].calls) == repr([ToolCall("f", arguments)])
    assert report.imported == 1


@given(st.lists(st.text() | JSON | st.dictionaries(st.sampled_from(["messages", "user_content", "tool_name", "tool_calls", "user_message",
                                                                    "tool_arguments", "tools", "split", "prompt", "completion"]), JSON), max_size=4))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_whatever_the_rows_are_the_answer_is_a_report_or_a_sentence(tmp_path_factory, rows):
    path = write(tmp_path_factory.mktemp("rows"), "rows.json", json.dumps(rows))
    try:
        _, report = read(path, TOOLS)
    except DataError as problem:
        assert "\n" not in str(problem)
    else:
        check_counts(report)


@given(st.binary(max_size=200) | st.text(alphabet='{}[],:;"\n\r\t a1\\', max_size=60).map(str.encode))
@settings(max_examples=100, deadline=None)
def test_whatever_the_bytes_are_the_answer_is_a_report_or_a_sentence(tmp_path_factory, content):
    try:
        read(write(tmp_path_factory.mktemp("rows"), "rows.csv", content), TOOLS)
    except DataError as problem:
        assert "\n" not in str(problem) and len(str(problem)) < 1500
