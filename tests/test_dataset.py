"""Datasets: what is wrong with them, how they are split, and that every value survives the disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset import (
    DEFAULT,
    Example,
    ToolDataset,
    deduplicate,
    example,
    load,
    normalised,
    save,
    sha256,
    split,
    statistics,
    validate,
)
from pipeline.errors import ConfigError, DataError
from pipeline.tools import ToolCall, ToolSpec
from tests.import_world import light

ROOT = Path(__file__).resolve().parent.parent
LIGHT = light(enum=["kitchen", "hall"])
TIMER = ToolSpec(
    "start_timer",
    "Starts a timer.",
    {"type": "object", "properties": {"minutes": {"type": "number", "description": "Minutes"}}, "required": ["minutes"]},
)
ON = ToolCall("set_light", {"room": "kitchen", "on": True})


def dataset(*examples: Example, tools: tuple[ToolSpec, ...] = (LIGHT,)) -> ToolDataset:
    return ToolDataset(tools, examples)


def many(count: int) -> ToolDataset:
    """`count` rows, each third of them for a timer, and every tenth without a call."""
    rows = []
    for n in range(count):
        if n % 10 == 9:
            rows.append(example(f"what is {n} times two", reply="No."))
        elif n % 3:
            rows.append(example(f"light {n}", [ON]))
        else:
            rows.append(example(f"timer {n}", [ToolCall("start_timer", {"minutes": n})]))
    return dataset(*rows, tools=(LIGHT, TIMER))


# --- one row ----------------------------------------------------------------------------------------------------------


def test_an_example_knows_its_parts():
    row = example("lights on", [ON, ON])
    assert (row.request, row.calls, row.reply_text, row.kind) == ("lights on", [ON, ON], "", "parallel")
    assert row.prompt == [{"role": "developer", "content": DEFAULT}, {"role": "user", "content": "lights on"}]
    assert row.completion["tool_calls"][0] == {"type": "function", "function": {"name": "set_light", "arguments": {"room": "kitchen", "on": True}}}
    assert example("x", reply="No.").kind == "none" and example("x", reply="No.").completion == {"role": "assistant", "content": "No."}
    assert example("x", [ON], developer=None).prompt == [{"role": "user", "content": "x"}]


def test_the_last_assistant_message_is_what_is_learned():
    first = example("3 minutes", [ToolCall("start_timer", {"minutes": 3})])
    row = Example((*first.messages, {"role": "tool", "name": "start_timer", "content": "ok"}, {"role": "assistant", "content": "Running."}))
    assert row.reply_text == "Running." and row.calls == [] and row.request == "3 minutes" and row.kind == "answer"
    assert row.prompt == list(row.messages[:-1])
    assert Example(({"role": "user", "content": "x"},)).completion == {}


def test_a_row_may_carry_its_own_tools():
    row = replace(example("x", [ON]), tools=(TIMER,))
    whole = dataset(row, example("y", [ON]))
    assert whole.tools_of(row) == (TIMER,) and whole.tools_of(whole.examples[1]) == (LIGHT,)


# --- validate ---------------------------------------------------------------------------------------------------------

RAW = {"role": "developer", "content": DEFAULT}
ASK = {"role": "user", "content": "x"}
BROKEN = {
    "unknown tool": (example("x", [ToolCall("fly")]), "error", "fly", "there is no tool fly"),
    "missing argument": (example("x", [ToolCall("set_light", {"room": "hall"})]), "error", "set_light.on", "required and missing"),
    "wrong type": (example("x", [ToolCall("set_light", {"room": "hall", "on": "yes"})]), "error", "set_light.on", 'found "yes"'),
    "not in the enum": (example("x", [ToolCall("set_light", {"room": "Hall", "on": True})]), "error", "set_light.room", "must be one of"),
    "unknown argument": (example("x", [ToolCall("set_light", {"room": "hall", "on": True, "x": 1})]), "warning", "set_light.x", "not declared"),
    "second call": (example("x", [ON, ToolCall("set_light", {"room": "hall"})]), "error", "set_light.on", "call 2: "),
    "empty request": (example(" ", [ON]), "error", "request", "empty"),
    "long request": (example("x" * 3_000, [ON]), "warning", "request", "3000 characters"),
    "control token in the request": (example("say <end_of_turn> now", [ON]), "error", "messages[1].content", "control token <end_of_turn>"),
    "control token in an argument": (
        example("x", [ToolCall("set_light", {"room": "<escape>", "on": True})]), "error", "set_light.room", "control token <escape>",
    ),
    "no assistant": (Example((RAW, ASK)), "error", "messages", "no assistant message"),
    "empty reply": (example("x"), "error", "reply", "reply is empty"),
    "after the end": (Example((*example("x", [ON]).messages, ASK)), "error", "messages", "follow the last assistant"),
    "role": (Example((RAW, {"role": "bot", "content": "x"}, *example("x", [ON]).messages[1:])), "error", "messages[1].role", "found 'bot'"),
    "split": (replace(example("x", [ON]), split="dev"), "error", "split", "found 'dev'"),
    "header lost": (
        Example((*example("x", [ON]).messages, {"role": "tool", "name": "set_light", "content": "ok"}, ASK, {"role": "assistant", "content": "y"})),
        "warning", "messages[4]", "loses its header",
    ),
    "arguments": (
        Example((RAW, ASK, {"role": "assistant", "tool_calls": [{"function": {"name": "set_light", "arguments": "[]"}}]})),
        "error", "tool_calls", "must be an object",
    ),
    "two replies": (
        Example((*example("x", [ON]).messages, {"role": "assistant", "content": "Done."})),
        "error", "messages", "follows a message of the assistant",
    ),
    **{
        f"result {content!r}": (
            Example((*example("x", [ON]).messages, {"role": "tool", "content": content, **named}, {"role": "assistant", "content": "y"})),
            "error", "messages[3].content", sentence,
        )
        for content, named, sentence in (
            ("", {"name": "set_light"}, "is empty"), ({}, {"name": "set_light"}, "is empty"), (5, {"name": "set_light"}, "text or an object"),
            ("ok", {}, "does not name its tool"), ({"a": 1}, {}, "does not name its tool"), (["a"], {"name": "set_light"}, "must all be objects"),
            ({"name": "set_light", "response": "ok"}, {}, "response must be an object"),
        )
    },
    "parts": (
        Example(({"role": "developer", "content": [{"type": "text", "text": DEFAULT}]}, *example("x", [ON]).messages[1:])),
        "error", "messages[0].content", "expected text, found [",
    ),
    "request in parts": (
        Example((RAW, {"role": "user", "content": [{"type": "text", "text": "x"}]}, example("x", [ON]).completion)),
        "error", "messages[1].content", "expected text, found [",
    ),
    "calls that are not learned": (
        Example((*example("x", [ON]).messages, {"role": "tool", "name": "set_light", "content": "ok"}, {"role": "assistant", "content": "y"})),
        "warning", "messages", "the calls before the last message are not learned",
    ),
    "no developer sentence": (example("x", [ON], developer="Hi."), "warning", "messages", "lack the developer sentence"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_validate_names_row_and_field(case):
    row, severity, field, sentence = BROKEN[case]
    found = validate(dataset(example("fine", [ON]), row))
    assert [(issue.severity, issue.field) for issue in found if issue.row in (2, None)][:1] == [(severity, field)], found
    assert any(sentence in issue.message and issue.fix for issue in found), found


def test_validate_lists_all_problems_at_once():
    found = validate(dataset(*(row for row, *_ in BROKEN.values())))
    assert {issue.row for issue in found} >= set(range(1, len(BROKEN)))
    assert validate(dataset(example("x", [ON]))) == []
    assert [issue.message for issue in validate(dataset())] == ["there are no examples"]


def test_validate_compares_rows():
    other = ToolCall("set_light", {"room": "hall", "on": True})
    rows = [example("light on", [ON]), example("light on", [ON]), example("light on.", [other]), example("Light on", [other])]
    assert [(issue.row, issue.message) for issue in validate(dataset(*rows))] == [
        (2, "the same as row 1"), (3, "the request of row 1 with another reply"),
    ]  # fmt: skip
    leaking = dataset(example("light on", [ON], split="train"), example("Light on!", [ON], split="test"))
    assert [(issue.row, issue.field) for issue in validate(leaking)] == [(2, "split")]
    dated = [example("now", [ON], developer=f"It is {n} o'clock. {DEFAULT}") for n in (1, 2)]
    assert validate(dataset(dated[0], replace(dated[1], messages=(*dated[1].messages[:2], example("now", [other]).completion)))) == []


def test_validate_lints_the_tools_that_rows_bring():
    bad = replace(LIGHT, description="")
    (issue,) = validate(dataset(example("x", [ON]), replace(example("y", [ON]), tools=(bad,)), replace(example("z", [ON]), tools=(bad,))))
    assert (issue.row, issue.field, issue.message) == (2, "tools.set_light", "the tool has no description")
    (unused,) = validate(dataset(example("x", [ON]), tools=(LIGHT, TIMER)))
    assert (unused.row, unused.field) == (None, "start_timer")


# --- split ------------------------------------------------------------------------------------------------------------


def sides(whole: ToolDataset) -> list[str]:
    return [item.split for item in whole.examples]


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("count", [2, 3, 10, 41, 300])
def test_a_split_has_its_share(count, fraction):
    found = sides(split(many(count), fraction, seed=3))
    assert set(found) == {"train", "test"}
    assert abs(found.count("test") - fraction * count) <= 1
    assert [item.messages for item in split(many(count), fraction).examples] == [item.messages for item in many(count).examples]


def test_each_tool_and_kind_gives_its_share():
    counts = statistics(replace(many(300), examples=tuple(e for e in split(many(300), 0.1, seed=5).examples if e.split == "test")))
    whole = statistics(many(300))
    for name in whole["by_tool"]:
        assert abs(counts["by_tool"][name] - whole["by_tool"][name] / 10) <= 1
    assert counts["by_kind"]["none"] == 3 and counts["rows"] == 30


def test_the_same_request_stays_on_one_side():
    wordings = ["Light on", "light on!", "  LIGHT   on ", "light, on?", "ｌight on"]
    assert len({normalised(words) for words in wordings}) == 1
    for seed in range(20):
        rows = [example(words, [ON]) for words in wordings] + [example(f"other {n}", [ON]) for n in range(20)]
        assert len(set(sides(split(dataset(*rows), 0.2, seed=seed))[:5])) == 1


def test_rows_keep_the_split_they_have_and_take_their_twins_along():
    rows = [example("a", [ON], split="test"), example("A!", [ON]), example("b", [ON], split="train"), example("b.", [ON])]
    assert sides(split(dataset(*rows, *many(40).examples), 0.1))[:4] == ["test", "test", "train", "train"]
    assert split(split(many(30), 0.2, seed=1), 0.2, seed=2) == split(many(30), 0.2, seed=1)


def test_one_group_trains_and_none_is_fine():
    assert sides(split(dataset(example("a", [ON]), example("A", [ON])))) == ["train", "train"]
    assert split(dataset()).examples == ()
    for fraction in (0, 1, -1, float("nan")):
        with pytest.raises(ConfigError, match="test_fraction"):
            split(many(3), fraction)


def test_seeds_differ_and_repeat():
    assert sides(split(many(60), seed=1)) == sides(split(many(60), seed=1)) != sides(split(many(60), seed=2))


def test_the_split_is_the_same_in_every_process():
    code = (
        "from pipeline.dataset import *; from pipeline.tools import *;"
        "rows = [example(f'turn {n} on', [ToolCall('f', {'n': n})]) for n in range(50)];"
        "done = split(ToolDataset((ToolSpec('f'),), tuple(rows)), 0.2, seed=4);"
        "print(sha256(done), [n for n, e in enumerate(done.examples) if e.split == 'test'])"
    )
    answers = {
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1
    # Written down, so that another Python version or a later change cannot move rows between the splits of a run and its repetition.
    assert answers.pop().endswith("[11, 23, 25, 30, 36, 37, 42, 43, 46, 48]\n")


# --- statistics and duplicates ----------------------------------------------------------------------------------------


def test_statistics_add_up():
    whole = dataset(example("a", [ON, ON]), example("a", [ON, ON]), example("bcd", reply="No."), example("x", [ON], split="train"), tools=(LIGHT, TIMER))
    assert statistics(whole) == {
        "rows": 4, "tools": 2, "by_tool": {"set_light": 3, "start_timer": 0},
        "by_kind": {"single": 1, "parallel": 2, "none": 1, "answer": 0}, "by_split": {"train": 1, "test": 0, "none": 3},
        "distinct_requests": 3, "duplicates": 1, "request_characters": {"min": 1, "median": 1, "max": 3},
    }  # fmt: skip
    assert statistics(dataset())["rows"] == 0


def test_duplicates_go_and_the_first_stays():
    rows = [example("a", [ON]), example("b", [ON]), example("a", [ON], split="train"), replace(example("a", [ON]), tools=(TIMER,))]
    kept, removed = deduplicate(dataset(*rows))
    assert kept.examples == (rows[0], rows[1], rows[3]) and removed == [3]


# --- disk -------------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**17, 10**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.text())
@settings(max_examples=50, deadline=None)
def test_every_json_value_survives_the_disk(tmp_path_factory, arguments, request_text):
    whole = dataset(example(request_text, [ToolCall("set_light", arguments)], split="test"), example("x", reply=request_text))
    folder = tmp_path_factory.mktemp("data")
    save(whole, folder)
    found = load(folder)
    assert repr(found) == repr(whole)  # repr tells 1 from 1.0 and True, 0.0 from -0.0, and the order of keys
    assert sha256(found) == sha256(whole)


@pytest.mark.parametrize("value", [0, 0.0, -0.0, 1e16, 5e-324, 10**30, True, None, "", "a\u2028b\nc", [[]], {"a": {"b": [None, {}]}}])
def test_types_that_tables_lose_are_kept(tmp_path, value):
    save(dataset(example("x", [ToolCall("set_light", {"v": value})])), tmp_path)
    assert repr(load(tmp_path).examples[0].calls[0].arguments["v"]) == repr(value)


def test_the_files_are_readable_and_nothing_else_is_left(tmp_path):
    save(many(3), tmp_path / "new" / "folder")
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["examples.jsonl", "tools.json"]
    lines = (tmp_path / "new" / "folder" / "examples.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 3 and json.loads(lines[0])["messages"][1]["content"] == "timer 0"
    tools = (replace(LIGHT, description="x"),)
    whole = ToolDataset((), (replace(example("ü", [ON]), tools=tools),))
    assert load(save(whole, tmp_path)) == whole


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", 10**5000, {1: 2}, {1, 2}], ids=str.split("nan inf half huge key set"))
def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(tmp_path, value):
    save(many(3), tmp_path)
    bad = Example(({"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"v": value}}}]}))
    with pytest.raises(DataError, match="cannot be saved"):
        save(dataset(bad), tmp_path)
    assert load(tmp_path) == many(3) and len(list(tmp_path.iterdir())) == 2


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    save(many(3), tmp_path)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(many(5), tmp_path)
    assert load(tmp_path) == many(3) and len(list(tmp_path.iterdir())) == 2


def test_a_damaged_folder_says_every_line(tmp_path):
    with pytest.raises(DataError, match="does not exist; a dataset is a folder with tools.json and examples.jsonl"):
        load(tmp_path)
    save(many(3), tmp_path)
    path = tmp_path / "examples.jsonl"
    good = path.read_text("utf-8")
    path.write_text(good + '{"messages": [\n{"messages": []}\n\n{"messages": [{"role": "user"}], "split": "dev"}\n{"messages": [5]}\n'
                    '{"messages": [{"role": "assistant", "tool_calls": 5}]}\n', "utf-8")
    with pytest.raises(DataError, match="row 4: broken JSON") as caught:
        load(tmp_path)
    assert [issue.row for issue in caught.value.issues] == [4, 5, 7, 8, 9]
    path.write_bytes(b"\xff\x00\x01")
    with pytest.raises(DataError, match="cannot be read as UTF-8"):
        load(tmp_path)


def test_what_is_wrong_with_a_path_is_said_as_it_is(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"rows\.jsonl is a file; a dataset is a folder with tools\.json"):
        load(tmp_path / "rows.jsonl")
    save(many(3), tmp_path / "data")
    (tmp_path / "data" / "tools.json").unlink()
    (tmp_path / "data" / "tools.json").mkdir()
    with pytest.raises(DataError, match=r"tools\.json cannot be opened \(Is a directory\); make sure"):
        load(tmp_path / "data")


def test_a_file_that_may_not_be_read_is_not_called_broken_text(tmp_path, monkeypatch):
    save(many(3), tmp_path)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"tools\.json cannot be opened \(Permission denied\); make sure that it is a file that you may read\.$"):
        load(tmp_path)


def test_the_digest_is_of_the_content():
    assert sha256(many(5)) == sha256(many(5))
    assert len({sha256(many(5)), sha256(many(4)), sha256(split(many(5))), sha256(replace(many(5), tools=(LIGHT,)))}) == 4
