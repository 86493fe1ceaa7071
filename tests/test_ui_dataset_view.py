"""The table and the tokens: which rows a filter shows, and that what is painted is exactly what is trained on."""

from __future__ import annotations

import pytest

from pipeline import functiongemma, samples
from pipeline.dataset import ToolDataset, example, scarcity, split
from pipeline.durations import duration
from pipeline.tools import ToolCall, ToolSpec
from pipeline.ui import tokens
from pipeline.ui.dataset_view import (
    LOOK,
    MUST_FIX,
    NO_CALL,
    PAGE_ROWS,
    TEST,
    TRAIN,
    Filter,
    health,
    report,
    table,
    tool_cards,
)
from pipeline.ui.state import Known, held_out


@pytest.fixture(scope="module")
def sample() -> Known:
    return Known.of(split(samples.load()))


@pytest.fixture
def small() -> Known:
    tools = samples.load().tools
    rows = (
        example("hall on", [ToolCall("set_light", {"room": "hall", "on": True})], split="train"),
        example("hall brighter", [ToolCall("set_light", {"room": "hall", "on": "yes"})], split="test"),
        example("who are you", reply="A helper.", split="train"),
        example("hall on", [ToolCall("set_light", {"room": "hall", "on": True})], split="train"),
    )
    return Known.of(ToolDataset(tools, rows))


@pytest.mark.parametrize(
    "wanted, rows",
    [
        (Filter(), [0, 1, 2, 3]),
        (Filter(text="HELPER"), [2]),
        (Filter(text='on="yes"'), [1]),
        (Filter(tool="set_light"), [0, 1, 3]),
        (Filter(tool="start_timer"), []),
        (Filter(tool=NO_CALL), [2]),
        (Filter(problem=MUST_FIX), [1]),
        (Filter(split=TEST), [1]),
        (Filter(split=TRAIN, tool="set_light"), [0, 3]),
    ],
    ids=str,
)
def test_a_filter_shows_the_rows_that_fit(small, wanted, rows):
    assert wanted.rows(small) == rows


def test_a_repeated_row_is_worth_a_look(small):
    assert 3 in Filter(problem=LOOK).rows(small)
    assert "Remove 1 duplicate" in health(small)


def test_too_few_examples_are_said_in_the_health_line_and_what_to_do(sample, small):
    few = health(small)
    assert "4 examples: the model may know these by heart" in few and "Write 50 or more" in few
    assert "fewer than 10 examples for set_light" in few and "start_timer: the model" not in few  # none at all is said otherwise
    assert scarcity(sample.dataset) == [] and "by heart" not in health(sample)


@pytest.mark.parametrize("rows, said", [(0, 0), (1, 2), (9, 2), (10, 1), (49, 1), (50, 0)])
def test_fifty_examples_and_ten_of_each_tool_are_enough(rows, said):
    tool = ToolSpec("ping", "Pings.", {"type": "object", "properties": {}})
    dataset = ToolDataset((tool,), tuple(example(f"ping {number}", [ToolCall("ping", {})]) for number in range(rows)))
    found = scarcity(dataset)
    assert len(found) == said and all(issue.severity == "warning" and issue.fix for issue in found)


def test_pages_hold_every_row_once_and_end(sample):
    pages = -(-len(sample.dataset.examples) // PAGE_ROWS)
    shown = [part.split('"')[0] for page in range(pages) for part in table(sample, Filter(), page, None).split('data-pick="row:')[1:]]
    assert shown == [str(index) for index in range(len(sample.dataset.examples))]
    assert table(sample, Filter(), 10**9, None) == table(sample, Filter(), pages - 1, None)


def test_painted_tokens_are_the_text_that_is_trained_on(sample):
    for row in sample.dataset.examples[:40]:
        declared = sample.dataset.tools_of(row)
        prompt, completion = functiongemma.render_example(list(row.messages), [tool.to_json() for tool in declared])
        pieces = tokens.of_example(row, declared)
        assert "".join(text for text, _, _ in pieces) == prompt + completion
        assert "".join(text for text, _, learned in pieces if learned) == completion


@pytest.mark.parametrize("text", ["naïve café", "日本語 🙂👩‍👩‍👧", "a\n\n b\t", "", "<escape>x<escape>", "\u200d"])
def test_no_character_is_lost_in_tokens(text):
    assert "".join(piece for piece, _, _ in tokens.pieces(text)) == text


def test_control_tokens_are_marked_and_lookalikes_are_not():
    marked = {text for text, control, _ in tokens.pieces("<escape>a < escape ><start_of_turn>") if control}
    assert marked == {"<escape>", "<start_of_turn>"}


def test_a_declaration_costs_its_tokens(sample):
    tool = sample.dataset.tools[0]
    with_it = functiongemma.render_prompt([{"role": "user", "content": "x"}], [tool.to_json()])
    start, end = with_it.index("<start_function_declaration>"), with_it.index("<end_of_turn>")
    assert tokens.cost(tool) == tokens.count(with_it[start:end])


def test_the_sample_has_no_problem_and_held_out_rows(sample):
    assert sample.must_fix == 0
    assert 20 <= len(held_out(sample.dataset)) <= 40


def test_an_import_report_shows_counts_that_add_up():
    from pipeline.importers import ImportReport

    shown = report(ImportReport("rows.csv", "csv", read=1200, imported=1190, changed=3, refused=10))
    for number in ("1,200", "1,190", "3", "10"):
        assert f"<dd>{number}</dd>" in shown


@pytest.mark.parametrize("seconds, words", [(3.4, "3 s"), (89, "89 s"), (240, "4 min"), (5000, "83 min"), (6000, "1 h 40 min"), (7200, "2 h")])
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_the_problem_of_a_tool_names_no_row():
    tool = ToolSpec("play", "Plays music.", {"type": "object", "properties": {"genre": {"type": "string"}}})
    cards = tool_cards(Known.of(ToolDataset((tool,), (example("jazz", [ToolCall("play", {"genre": "jazz"})]),))))
    assert "play.genre" in cards and "no description" in cards and "Row" not in cards
