"""The playground's answers: asked as the examples begin, with few models in memory, on the tools a model was trained with."""

from __future__ import annotations

import os

import gradio as gr
import pytest

from pipeline import functiongemma
from pipeline.dataset import ToolDataset, example
from pipeline.errors import PipelineError
from pipeline.examples import conversation, with_results
from pipeline.tools import TRIGGER, ToolCall, ToolSpec
from pipeline.ui import answers, playground_tab, session
from pipeline.ui.answer_view import asked
from pipeline.ui.layout import open_sample

TOOL = ToolSpec("set_light", "Turns a lamp on or off.", {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]})


@pytest.fixture
def written(monkeypatch):
    """A model that always writes the same; the prompts that it was given."""
    prompts, loads = [], []

    class Written:
        text = "<start_function_call>call:set_light{on:true}<end_function_call><start_function_response>"
        token_ids = list(range(12))
        stopped = True

    monkeypatch.setattr(answers, "_kept", type(answers._kept)())
    monkeypatch.setattr(answers.model, "load", lambda folder: loads.append(str(folder)) or str(folder))
    monkeypatch.setattr(answers.model, "generate", lambda model, texts, **options: prompts.extend(texts) or [Written()])
    return prompts, loads


def test_a_fresh_request_begins_as_most_examples_do():
    def begun(text, number):
        return [example(f"{text} {i}", reply="no", developer=text) for i in range(number)]

    dataset = ToolDataset((TOOL,), (*begun("You run a house.", 2), *begun("You run a car.", 1)))
    assert conversation("hi", dataset)[0] == {"role": "developer", "content": "You run a house."}
    assert conversation("hi", ToolDataset((TOOL,), tuple(begun("", 2))))[0]["role"] == "user"
    assert conversation("hi")[0]["content"] == TRIGGER


def test_an_answer_is_read_back_and_its_prompt_kept(written, tmp_path):
    found = answers.answer(tmp_path, conversation("on"), [TOOL])
    assert found.calls == [ToolCall("set_light", {"on": True})]
    assert found.prompt == written[0][0] == functiongemma.render_prompt(conversation("on"), [TOOL.to_json()], True)


def test_a_models_prompt_goes_on_after_the_functions_result(written, tmp_path):
    messages = with_results(conversation("on"), [ToolCall("set_light", {"on": True})], ["done"])
    answers.answer(tmp_path, messages, [TOOL])
    assert written[0][0].endswith("response:set_light{value:<escape>done<escape>}<end_function_response>")


def test_few_models_stay_in_memory_and_a_changed_one_is_read_again(written, tmp_path):
    folders = [tmp_path / str(number) for number in range(answers.KEPT + 1)]
    for folder in folders:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x")
        answers.loaded(folder)
        answers.loaded(folder)
    assert written[1] == [str(folder) for folder in folders]
    assert len(answers._kept) == answers.KEPT
    os.utime(folders[-1] / "model.safetensors", ns=(1, 1))
    answers.loaded(folders[-1])
    assert written[1][-1] == str(folders[-1]) and len(written[1]) == len(folders) + 1


@pytest.fixture
def key(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path / "workspace"))
    return open_sample(None)


def test_suggestions_are_held_out_and_spread_over_the_tools(key):
    project = session.project_of(key)
    suggested = playground_tab.suggestions(project)
    rows = {row.request: row for row in playground_tab.known(project).dataset.examples}
    assert len(suggested) == playground_tab.SUGGESTIONS
    assert all(rows[request].split == "test" for request in suggested)
    assert len({call.name for request in suggested for call in rows[request].calls}) >= 4


def test_asking_shows_the_base_then_offers_to_correct_it(key, written):
    *_, last = playground_tab.ask(key, " switch it on ", None)
    assert "set_light" in last[0] and "12 tokens" in last[0]
    assert asked(last[7]) == ("switch it on", [ToolCall("set_light", {"on": True})])


@pytest.mark.parametrize("junk", [None, "", "[]", "null", "{", '{"request": "x"}', '{"request": "x", "calls": 3}', 7, ["x"]], ids=repr)
def test_what_does_not_say_what_was_answered_is_no_answer(junk):
    with pytest.raises(PipelineError, match="Send a request first"):
        asked(junk)


def test_half_a_surrogate_pair_goes_nowhere(key, written):
    *_, last = playground_tab.ask(key, "switch it \ud800 on", None)
    assert asked(last[7])[0] == "switch it ? on"


def test_a_request_that_spells_control_tokens_says_so(key, written):
    *_, last = playground_tab.ask(key, "turn it <end_of_turn> red", None)
    assert "The request spells &lt;end_of_turn&gt;: the model reads that as a control token" in last[0]
    *_, last = playground_tab.ask(key, "turn it red", None)
    assert "control token" not in last[0]


@pytest.mark.parametrize("request_, sentence", [("", "Type a request first"), ("x" * 5000, "may have 2,000 characters")])
def test_a_request_that_cannot_be_sent_is_a_sentence(key, request_, sentence):
    with pytest.raises(gr.Error, match=sentence):
        list(playground_tab.ask(key, request_, None))
