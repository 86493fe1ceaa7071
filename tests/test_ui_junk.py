"""Every handler of the page with what no page sends: a sentence or an answer comes out, never an accident of ours.

What gradio lets through is made with its own fields: some handlers ask for what the browser sent as it is, the others for what a field
makes of it. That nothing of another visitor comes out is tests/test_security.py.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from itertools import islice
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio import helpers

from pipeline.ui import layout, session
from tests.browser.fake_runs import add_artifact, add_report, make_run

PUBLIC = ("parse", "render_prompt", "lint_tools", "call")  # tests/test_ui_api.py
DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]
JUNK = {
    "nothing": None, "a number": 7, "a negative number": -1, "no number": float("nan"), "endless": float("inf"), "yes": True, "a list": ["x", None, 3],
    "an object": {"session": 1, "__type__": "update", "path": "/etc/passwd"}, "nested": DEEP, "many": ["x"] * 20_000, "long": "x" * 100_000,
    "empty": "", "half a character": "\ud800", "a path": "../../etc", "markup": "<img src=x onerror=alert(1)>" * 200,
}  # fmt: skip
"""Texts that a model could be asked with are too long for it, so that none is loaded."""


class Refused(Exception):
    """gradio's own field did not take the value."""


@pytest.fixture(scope="module")
def demo():
    return layout.build()


@pytest.fixture
def key(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    key = layout.open_sample(None)
    run = make_run(session.project_of(key), steps=9)
    add_report(run, "base", 0.2), add_report(run, "tuned", 0.9), add_artifact(run)
    make_run(session.project_of(key), "Run 2", status="paused", steps=9)
    return key


def sent(event: Any, field: Any, value: Any) -> Any:
    """What the handler of `event` gets of `value` in `field`. Raises Refused."""
    if isinstance(field, gr.State):
        return field.value
    if not event.preprocess:
        return value
    try:
        if getattr(field, "data_model", None) and value is not None:
            value = field.data_model.model_validate(value)
        return field.preprocess(value)
    except Exception as error:  # of gradio's own code, in as many kinds as it has fields; no handler of ours has run yet
        raise Refused from error


def reached(event: Any, values: list[Any], picked: Any) -> bool:
    """Call the handler; False if gradio refuses to. gr.Error is a sentence for the visitor; anything else is raised."""
    visit = SimpleNamespace(query_params={"project": "x", "tab": "y", "model": None}, username=None, session_hash="x")
    try:
        given, *_ = helpers.special_args(event.fn, list(values), request=visit, event_data=gr.EventData(None, picked))
    except gr.Error:  # an event that names a file which is not the visitor's
        return False
    with suppress(gr.Error):
        answer = event.fn(*given)
        if inspect.isgenerator(answer):
            list(islice(answer, 50))
    return True


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_no_handler_falls_over_what_a_browser_sends(demo, key, junk, caplog):
    called, accidents = 0, []
    for event in demo.fns.values():
        if event.fn is None or event.api_name in PUBLIC:
            continue
        for who in (key, junk):
            try:
                values = [who if isinstance(field, gr.BrowserState) else sent(event, field, junk) for field in event.inputs]
            except Refused:
                continue
            try:
                called += any([reached(event, values, picked) for picked in ({"pick": junk, "text": junk}, junk)])
            except Exception as error:  # whatever it is, it is what this test looks for
                accidents.append(f"{event.fn.__qualname__}: {error!r}")
    assert called > 60
    assert accidents == []
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
