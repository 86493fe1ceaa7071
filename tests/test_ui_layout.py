"""The app as it is handed to gradio: four functions public and nothing else, nothing recorded, and every step there."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from pipeline.config import TrainConfig
from pipeline.runs import Run
from pipeline.ui import dataset_tab, header, layout, session, state
from pipeline.ui.session import STEPS


@pytest.fixture(scope="module")
def demo():
    return layout.build()


def test_four_functions_are_public_and_every_event_of_the_page_is_private(demo):
    public = [event.api_name for event in demo.fns.values() if event.api_visibility != "private"]
    assert len(demo.fns) > 50
    assert public == ["parse", "render_prompt", "lint_tools", "call"]


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
    health = dataset_tab.show(key, None, "")[2].value
    assert "cannot be read" in health and "Import a dataset in its place" in health
    assert "No examples yet" in dataset_tab.show_rows(key, "", "", "", "", None, None)


def test_a_projects_name_is_text_in_the_list(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path))
    key = session.create_project(None, '<img src=x onerror="alert(1)">')
    shown = layout.project_list(session.projects_of(key))
    assert "<img" not in shown and "&lt;img" in shown


def test_the_header_says_which_base_the_newest_training_started_from(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path))
    project = session.project_of(layout.open_own(None))
    assert "base: embedded demo model" in header.brand(project)
    real = {"id": "google/functiongemma-270m-it", "label": "FunctionGemma 270M", "revision": "0123456789abcdef", "embedded": False, "path": "x"}
    Run.create(project.new_run_path(), title="one", config=TrainConfig(), base=real, dataset_sha256="", versions={}, total_steps=1)
    said = header.brand(project)
    assert "base: FunctionGemma 270M" in said and "revision 0123456789ab" in said and "stand-in" not in said


def test_where_the_work_is_done_is_said(monkeypatch):
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert header.place() == "ZeroGPU"
    monkeypatch.delenv("SPACES_ZERO_GPU")
    assert re.fullmatch(r"GPU|CPU, \d+ cores?", header.place())


def test_a_project_is_downloaded_without_what_only_the_trainer_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    key = layout.open_sample(None)
    run = session.project_of(key).path / "runs" / "0123abcd"
    for name in ("run.json", "model/config.json", "checkpoints/checkpoint-3/optimizer.pt", ".lock"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}")
    file = Path(layout.take_home(key))
    with zipfile.ZipFile(file) as archive:
        inside = {name.partition("/")[2] for name in archive.namelist()}
    assert inside == {"project.json", "dataset/tools.json", "dataset/examples.jsonl", "runs/0123abcd/run.json", "runs/0123abcd/model/config.json"}
    assert file.is_relative_to(tmp_path / "served") and layout.take_home(key) == str(file)
    (run / "model" / "weights").write_text("new")
    assert layout.take_home(key) != str(file)


@pytest.mark.parametrize("seconds, words", [(5, "just now"), (600, "10 min ago"), (7200, "2 h ago"), (400_000, "5 days ago")])
def test_how_long_ago(seconds, words):
    assert layout.ago(seconds) == words
