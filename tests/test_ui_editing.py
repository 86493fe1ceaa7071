"""Changes to a dataset from the page: each is one whole step on disk, and every refusal is a sentence."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline import dataset as data
from pipeline.dataset import ToolDataset, example
from pipeline.errors import PipelineError
from pipeline.tools import ToolCall, ToolSpec
from pipeline.ui import editing, session
from pipeline.ui.state import known

LIGHT = {
    "name": "set_light",
    "description": "Turns a lamp on or off.",
    "parameters": {
        "type": "object",
        "properties": {"room": {"type": "string", "enum": ["kitchen", "hall"]}, "on": {"type": "boolean"}, "level": {"type": "integer"}},
        "required": ["room", "on"],
    },
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path / "workspace"))
    made = session.project_of(session.create_project(None, "Mine"))
    editing.put_tool(made, json.dumps(LIGHT))
    return made


def rows(project):
    return data.load(project.dataset_path).examples


def mark_of(project, index):
    return index, editing.mark(rows(project)[index])


def test_a_first_tool_makes_a_dataset(project):
    assert [tool.name for tool in known(project).dataset.tools] == ["set_light"]


def test_an_example_is_added_with_its_types(project):
    calls = '[{"name": "set_light", "arguments": {"room": "hall", "on": false, "level": 3}}]'
    assert editing.put_example(project, " hall off ", calls, "") == 0
    [row] = rows(project)
    assert row.request == "hall off"
    assert row.calls == [ToolCall("set_light", {"room": "hall", "on": False, "level": 3})]


def test_an_edited_row_keeps_what_the_form_does_not_show(project):
    old = data.Example(
        ({"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"},
         {"role": "user", "content": "light"}, {"role": "assistant", "content": "which?"}),
        split="test",
    )  # fmt: skip
    data.save(ToolDataset(known(project).dataset.tools, (old, example("bye", reply="bye"))), project.dataset_path)
    editing.put_example(project, "hall light", '{"name": "set_light", "arguments": {"room": "hall", "on": true}}', "", mark_of(project, 0))
    row = rows(project)[0]
    assert row.messages[:3] == old.messages[:3]
    assert (row.request, row.split, len(row.calls)) == ("hall light", "test", 1)


def test_a_row_that_changed_meanwhile_is_not_overwritten(project):
    editing.put_example(project, "one", "", "a")
    stale = mark_of(project, 0)
    editing.put_example(project, "two", "", "b", stale)
    with pytest.raises(PipelineError, match="changed or moved meanwhile"):
        editing.put_example(project, "three", "", "c", stale)
    with pytest.raises(PipelineError, match="changed or moved meanwhile"):
        editing.remove_example(project, stale)
    assert [row.request for row in rows(project)] == ["two"]


def test_removing_a_row_and_duplicates(project):
    for request in ("one", "one", "two"):
        editing.put_example(project, request, "", "no")
    editing.remove_duplicates(project)
    assert [row.request for row in rows(project)] == ["one", "two"]
    editing.remove_example(project, mark_of(project, 0))
    assert [row.request for row in rows(project)] == ["two"]


@pytest.mark.parametrize(
    "request_, calls, words, sentence",
    [
        ("", "", "no", "needs a request"),
        ("hi", "", " ", "needs an answer"),
        ("hi", "[{", "", "broken JSON"),
        ("hi", "[3]", "", "needs a name"),
        ("hi", '[{"name": "f", "arguments": [1]}]', "", "arguments"),
        ("hi", '[{"name": "f", "arguments": {"x": NaN}}]', "", "NaN"),
    ],
)
def test_a_form_with_a_mistake_is_refused_with_a_sentence(project, request_, calls, words, sentence):
    with pytest.raises(PipelineError, match=sentence):
        editing.put_example(project, request_, calls, words)
    assert rows(project) == ()


def test_renaming_a_tool_renames_its_calls(project):
    editing.put_example(project, "hall", '[{"name": "set_light", "arguments": {"room": "hall", "on": true}}]', "")
    editing.put_tool(project, json.dumps({**LIGHT, "name": "lamp"}), "set_light")
    assert [call.name for call in rows(project)[0].calls] == ["lamp"]
    assert known(project).must_fix == 0


def test_two_tools_of_one_name_and_the_last_tool(project):
    with pytest.raises(PipelineError, match="already"):
        editing.put_tool(project, json.dumps(LIGHT))
    with pytest.raises(PipelineError, match="at least one tool"):
        editing.remove_tool(project, "set_light")


def test_a_call_is_inserted_with_values_of_the_right_type(project):
    text = editing.with_call("[]", ToolSpec("set_light", "", LIGHT["parameters"]))
    assert json.loads(text) == [{"name": "set_light", "arguments": {"room": "kitchen", "on": True}}]


def test_every_row_gets_a_split_and_keeps_it(project):
    for number in range(30):
        editing.put_example(project, f"request {number}", "", "no")
    before = {row.request: row.split for row in rows(project)}
    assert set(before.values()) == {"train", "test"}
    editing.put_example(project, "one more", "", "no")
    assert {row.request: row.split for row in rows(project)}.items() >= before.items()


def test_changes_at_the_same_time_all_arrive(project):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: editing.put_example(project, f"request {number}", "", "no"), range(16)))
    assert len(rows(project)) == 16


def test_importing_adds_or_replaces(project, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"user_content": "hall on", "tool_name": "set_light", "tool_arguments": "{\\"room\\": \\"hall\\", \\"on\\": true}"}\n')
    assert editing.import_files(project, str(file), None, "", False).imported == 1
    editing.put_example(project, "hello", "", "hi")
    editing.import_files(project, str(file), None, "", False)
    assert len(rows(project)) == 3
    editing.import_files(project, str(file), None, json.dumps([LIGHT]), True)
    assert len(rows(project)) == 1


def test_an_import_of_nothing_says_so(project):
    with pytest.raises(PipelineError, match="Choose a file"):
        editing.import_files(project, None, None, " ", False)


def test_a_damaged_dataset_is_replaced_by_an_import(project, tmp_path):
    (project.dataset_path / "examples.jsonl").write_text("{broken")
    file = tmp_path / "rows.jsonl"
    file.write_text('{"user_content": "hall on", "tool_name": "set_light", "tool_arguments": "{\\"room\\": \\"hall\\", \\"on\\": true}"}\n')
    with pytest.raises(PipelineError, match="cannot be read"):
        editing.import_files(project, str(file), None, json.dumps([LIGHT]), False)
    editing.import_files(project, str(file), None, json.dumps([LIGHT]), True)
    assert len(rows(project)) == 1
