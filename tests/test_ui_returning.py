"""Back to an empty disk: a training that was kept on the Hub comes into a project of its own, or nothing does and the reason is said."""

from __future__ import annotations

import gradio as gr
import pytest

from pipeline import dataset
from pipeline.hub.checkpoints import push_checkpoint
from pipeline.ui import layout, returning, session
from tests.browser.fake_runs import add_checkpoint, make_run


@pytest.fixture
def kept(hub, tmp_path, monkeypatch):
    """A stopped training in mira's repository, and her token; this disk is empty again."""
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path / "before"))
    project = session.project_of(layout.open_sample(None))
    run = make_run(project, title="Lamp", status="paused", steps=9)
    add_checkpoint(run, 9)
    token = hub.user("mira")
    push_checkpoint(run, "mira/lamp-training", token)
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path / "after"))
    return gr.OAuthToken(token=token, scope="", expires_at=0)


def bring(oauth, repo: str) -> list:
    return list(returning.bring_back({"session": None, "project": None, "lost": True}, oauth, repo))


def test_a_training_comes_back_with_its_dataset(kept):
    *_, (_, words, brought) = bring(kept, " mira/lamp-training ")
    key, tabs = returning.open_brought({**brought, "project": None}, brought)
    assert tabs.selected == "train"
    project = session.project_of(key)
    (run,) = project.runs()
    assert (project.title, run.title, run.status, run.last_checkpoint.step, words) == ("lamp-training", "Lamp", "paused", 9, "")
    assert dataset.load(project.dataset_path) == run.dataset() and "lost" not in key


def test_what_a_visitor_begins_while_it_comes_is_theirs_and_stays_open(kept):
    coming = returning.bring_back({"session": None, "project": None, "lost": True}, kept, "mira/lamp-training")
    key, *_ = next(coming)
    sample = layout.open_sample(key)
    *_, (_, _, brought) = coming
    assert brought["session"] == sample["session"]
    assert {project.title for project in session.projects_of(sample)} == {"Sample", "lamp-training"}
    opened, _ = returning.open_brought(sample, brought)
    assert not isinstance(opened, dict) or "session" not in opened  # nothing: they stay where they are


def test_after_one_that_did_not_come_the_form_is_still_there_after_a_reload(kept):
    coming = returning.bring_back({"session": None, "project": None, "lost": True}, kept, "mira/nothing")
    key, *_ = next(coming)
    with pytest.raises(gr.Error):
        list(coming)
    assert session.welcome(key)["lost"] is True


@pytest.mark.parametrize("repo, words", [("mira/nothing", "mira/nothing"), ("", "not a repository"), ("../x", "not mira nor an organization")])
def test_what_does_not_come_leaves_nothing_and_says_why(kept, tmp_path, repo, words):
    with pytest.raises(gr.Error, match=words):
        bring(kept, repo)
    assert not list((tmp_path / "after").glob("*/*/*"))


def test_without_an_account_it_says_how_to_sign_in(kept, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    with pytest.raises(gr.Error, match="Hub token"):
        bring(None, "mira/lamp-training")
    assert not (tmp_path / "after").exists()
