"""The app as it is handed to gradio: nothing public, nothing recorded, and every step there."""

from __future__ import annotations

import pytest

from pipeline.ui import dataset_tab, layout, session, state
from pipeline.ui.session import STEPS


@pytest.fixture(scope="module")
def demo():
    return layout.build()


def test_no_event_of_the_page_is_in_the_public_api(demo):
    assert demo.fns
    assert all(event.api_visibility == "private" for event in demo.fns.values())


def test_nothing_is_reported_home(demo):
    assert demo.analytics_enabled is False


def test_every_step_has_a_state_in_words(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path))
    assert state.steps(None) == dict.fromkeys(STEPS, "")
    key = layout.open_own(None)
    empty = state.steps(session.project_of(key))
    assert empty == {"dataset": "empty", "train": "not yet", "evaluate": "not yet", "playground": "base only", "export": "not yet"}
    key = layout.open_sample(None)
    assert state.steps(session.project_of(key))["dataset"] == "5 tools, 300 examples"


def test_a_damaged_dataset_is_said_and_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path))
    key = layout.open_sample(None)
    project = session.project_of(key)
    (project.dataset_path / "examples.jsonl").write_text("{broken")
    assert state.steps(project)["dataset"] == "cannot be read"
    shown = dataset_tab.show(key, None, "", "", "", "", 0, None)
    assert "cannot be read" in shown[7].value and "Import a dataset in its place" in shown[7].value


def test_a_projects_name_is_text_in_the_list(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path))
    key = session.create_project(None, '<img src=x onerror="alert(1)">')
    shown = layout.project_list(session.projects_of(key))
    assert "<img" not in shown and "&lt;img" in shown


@pytest.mark.parametrize("seconds, words", [(5, "just now"), (600, "10 min ago"), (7200, "2 h ago"), (400_000, "5 days ago")])
def test_how_long_ago(seconds, words):
    assert layout.ago(seconds) == words
