"""The sample project: nothing wrong with it, and everything in it that it is meant to show."""

from __future__ import annotations

import json

import pytest

from pipeline import dataset, samples
from pipeline.dataset import normalised, split, statistics, validate
from pipeline.functiongemma import parse, render_example
from pipeline.samples import make
from pipeline.tools import lint_tools

SAMPLE = samples.load()


def test_nothing_is_wrong_with_it():
    assert validate(SAMPLE) == [] and lint_tools(SAMPLE.tools) == []
    assert validate(split(SAMPLE)) == []


def test_the_script_repeats_the_files(tmp_path):
    dataset.save(make.make(), tmp_path)
    for name in ("tools.json", "examples.jsonl"):
        assert (tmp_path / name).read_bytes() == (samples.FOLDER / name).read_bytes()


def test_it_has_every_kind_of_argument_and_reply():
    types = {rule["type"] for tool in SAMPLE.tools for rule in tool.parameters.get("properties", {}).values()}
    assert len(SAMPLE.tools) == 5 and types == {"string", "integer", "number", "boolean"}
    assert any("enum" in rule for tool in SAMPLE.tools for rule in tool.parameters["properties"].values())
    assert any(not tool.parameters["properties"] for tool in SAMPLE.tools)
    counts = statistics(SAMPLE)
    assert counts["rows"] == counts["distinct_requests"] == 300 and counts["duplicates"] == 0
    assert counts["by_kind"] == {"single": 195, "parallel": 60, "none": 45, "answer": 0}
    assert len({row.reply_text for row in SAMPLE.examples if not row.calls}) == 1
    assert any(type(value) is float for row in SAMPLE.examples for call in row.calls for value in call.arguments.values())


def test_every_argument_stands_in_its_request():
    for row in SAMPLE.examples:
        for call in row.calls:
            for value in call.arguments.values():
                said = {True: " on", False: " off"}[value] if isinstance(value, bool) else value if isinstance(value, str) else json.dumps(value)
                assert said in f" {row.request} ", (row.request, call.display())


@pytest.mark.parametrize("seed", range(5))
def test_a_tenth_of_it_shows_every_kind_and_tool(seed):
    held_out = [row for row in split(SAMPLE, 0.1, seed).examples if row.split == "test"]
    known = {normalised(row.request) for row in SAMPLE.examples} - {normalised(row.request) for row in held_out}
    assert len(held_out) == 30 and len(known) == 270
    assert {row.kind for row in held_out} == {"single", "parallel", "none"}
    assert {call.name for row in held_out for call in row.calls} == {tool.name for tool in SAMPLE.tools}


def test_its_calls_survive_the_wire():
    tools = [tool.to_json() for tool in SAMPLE.tools]
    for row in SAMPLE.examples[:60]:
        _, completion = render_example(list(row.messages), tools)
        found = parse(completion, tools)
        assert repr([(call.name, sorted(call.arguments.items())) for call in found.calls]) == repr(
            [(call.name, sorted(call.arguments.items())) for call in row.calls]
        )
        assert found.text == row.reply_text
