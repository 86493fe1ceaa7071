"""The wiring of the page, read from what gradio is handed: what no answer that comes late can undo, and what cannot go on for ever."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import Any

import pytest

from pipeline.ui import layout

FIELDS = {"textbox", "dropdown", "checkbox", "checkboxgroup", "radio", "number", "slider", "code", "file"}
OF_VISITORS = {"click", "submit", "select", "input", "edit", "upload", "like", "expand"}
"""Events that a visitor raises; every other one (a change, a tick, the opening of the page) happens without them."""


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    return layout.build().config


def name(component: dict[str, Any]) -> str:
    said = component["props"]
    return f"{component['type']} {said.get('elem_id') or said.get('label') or component['id']}"


def asking(page: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The events that ask the server, by id."""
    return {each["id"]: each for each in page["dependencies"] if each["backend_fn"]}


def triggers(event: dict[str, Any]) -> set[tuple[int, str]]:
    return {(component, kind) for component, kind in event["targets"] if component is not None}


def raised_by(page: dict[str, Any], event: dict[str, Any]) -> set[str]:
    """The kinds of events that it follows on, at the beginning of its chain."""
    every = {each["id"]: each for each in page["dependencies"]}
    while event["trigger_after"] is not None:
        event = every[event["trigger_after"]]
    return {kind for _, kind in triggers(event)}


def test_what_a_visitor_edits_is_written_by_one_event_at_most_that_they_did_not_raise(page):
    known = {each["id"]: each for each in page["components"]}
    writers = defaultdict(list)
    for id, event in asking(page).items():
        if raised_by(page, event) - OF_VISITORS:
            for output in event["outputs"]:
                props = known[output]["props"]
                if known[output]["type"] in FIELDS and props.get("visible") != "hidden" and props.get("interactive") is not False:
                    writers[name(known[output])].append(id)
    assert len(writers) > 10
    assert {field: events for field, events in writers.items() if len(events) > 1} == {}


def test_no_two_events_can_ask_each_other_again_without_end(page):
    """What is raised again for one that was busy is raised for all its listeners, so two that wait may share one trigger, never two."""
    waiting = {id: event for id, event in asking(page).items() if event["trigger_mode"] == "always_last"}
    assert len(waiting) > 10
    shared = {(a, b): triggers(waiting[a]) & triggers(waiting[b]) for a, b in combinations(waiting, 2)}
    assert {pair: both for pair, both in shared.items() if len(both) > 1} == {}


def test_what_is_never_to_be_seen_is_hidden_by_its_class_too(page):
    """gradio 6.31 shows what is "hidden" in a column that was hidden and comes back; `.unseen` is in studio.css."""
    hidden = [each for each in page["components"] if each["type"] in FIELDS and each["props"].get("visible") == "hidden"]
    assert len(hidden) > 10
    assert [name(each) for each in hidden if "unseen" not in (each["props"].get("elem_classes") or [])] == []
