"""The panel that shares a demo: who may, what it says before, the file that is made first, and work that is followed from a thread."""

from __future__ import annotations

import threading
from dataclasses import replace

import gradio as gr
import pytest

from pipeline.errors import ExportError, RunError
from pipeline.hub import demo
from pipeline.hub.push import Existing
from pipeline.runs import Run, Workspace
from pipeline.ui import jobs, share_panel
from pipeline.ui.errands import Errand
from pipeline.ui.widgets import OURS
from tests.tuned_world import small_run

VISITOR = gr.OAuthToken(token="hf_canary", scope="", expires_at=0)


@pytest.fixture
def visitor(tmp_path, monkeypatch):
    """(key, run) of a visitor on a Space with a trained run; nobody is signed in."""
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path))
    monkeypatch.setattr(share_panel, "_errands", {})
    monkeypatch.setattr(share_panel.account, "is_owners", lambda: False)
    session = Workspace(tmp_path).create_session()
    project = session.create_project("My lamps")
    run = small_run(project.new_run_path(), learn=False)
    return {"session": session.id, "project": project.id}, run


def test_nothing_is_shown_before_there_is_a_model(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path))
    shown = share_panel.show(None, None, None, "", None, None)
    assert shown[0]["visible"] is False and len(shown) == 14


def test_who_is_not_signed_in_reads_why_and_may_take_the_folder(visitor):
    key, run = visitor
    panel, title, name, state, share, _, _, take, done, *_ = share_panel.show(key, None, run.id, "", None, None)
    assert panel.visible and (title, name) == ("My lamps", "my-lamps-demo") and "The .zip needs no account." in state
    assert share.interactive is False and take.interactive is False and done.visible is False
    with pytest.raises(gr.Error, match="does not use its owner"):
        share_panel.begin(key, None, run.id, "", "lamp", True)
    with pytest.raises(gr.Error, match="Make it first, on the card"):
        share_panel.take_home(key, run.id, "")


def test_what_is_typed_or_emptied_is_not_overwritten(visitor):
    key, run = visitor
    *first, mark = share_panel.show(key, VISITOR, run.id, "", None, None)
    assert first[1:3] == ["My lamps", "my-lamps-demo"]
    shown = share_panel.show(key, VISITOR, run.id, "", mark, None)
    assert shown[1] == gr.skip() and shown[2] == gr.skip() and "is made first" in shown[3] and shown[4].interactive


def test_another_visitor_s_run_cannot_be_shared(visitor, tmp_path, monkeypatch):
    key, run = visitor
    stranger = Workspace(tmp_path).create_session()
    theirs = {"session": stranger.id, "project": stranger.create_project("x").id}
    monkeypatch.setattr(share_panel.hub, "account", lambda token: share_panel.hub.Account("alice"))
    for handler, values in ((share_panel.begin, ("", "lamp", True)), (share_panel.let_everybody_see, ())):
        with pytest.raises(gr.Error, match="There is no run"):
            handler(theirs, VISITOR, run.id, *values)
    with pytest.raises(gr.Error, match="There is no run"):
        share_panel.take_home(theirs, run.id, "")
    assert share_panel._errands == {}


def test_it_is_followed_while_it_is_shared_and_afterwards(visitor, monkeypatch):
    key, run = visitor
    asked, begun, go = [], threading.Event(), threading.Event()

    def share(run, repo, token, *, private, overwrite, parent, title, progress):
        progress(0.5, "Sending x")
        asked.append((repo, token, private, overwrite, parent, title))
        begun.set()
        go.wait(10)
        made = demo.Shared(repo, f"https://huggingface.co/spaces/{repo}", demo.site(repo), demo.embed(demo.site(repo)), "c" * 40, private)
        demo._remember(run, made)
        return made

    monkeypatch.setattr(share_panel.hub, "account", lambda token: share_panel.hub.Account("alice"))
    monkeypatch.setattr(share_panel.demo, "share", share)
    monkeypatch.setattr(share_panel.demo, "in_the_way", lambda run, repo, token: None)
    monkeypatch.setattr(share_panel, "_job_for_file", lambda run, session: None)
    share_panel.begin(key, VISITOR, run.id, "Lamps", "lamp", True)
    (errand,) = share_panel._errands.values()
    assert begun.wait(10)
    with pytest.raises(gr.Error, match="being shared already"):
        share_panel.begin(key, VISITOR, run.id, "Lamps", "lamp", True)
    shown = share_panel.show(key, VISITOR, run.id, "lamp", key["project"], None)
    assert "Sending x" in shown[3] and shown[4].interactive is False and shown[12].active
    go.set()
    errand.over.wait(10)
    assert asked == [("alice/lamp", "hf_canary", True, False, None, "Lamps")]
    shown = share_panel.show(key, VISITOR, run.id, "lamp", key["project"], None)
    *_, done, link, publish, code, timer, _ = shown
    assert done.visible and "seen by nobody else" in link and publish.visible and code.visible is False and not timer.active
    assert "hf_canary" not in repr(vars(errand))
    assert not [file for file in run.path.rglob("*.json") if "hf_canary" in file.read_text("utf-8")]


def test_a_space_in_the_way_is_asked_about_and_changed_only_as_it_was_then(visitor, monkeypatch):
    key, run = visitor
    there, begun = Existing("alice/lamp", "c" * 40, True, ("app.py",), "", "space"), []
    monkeypatch.setattr(share_panel.hub, "account", lambda token: share_panel.hub.Account("alice"))
    monkeypatch.setattr(share_panel.demo, "in_the_way", lambda run, repo, token: there)
    monkeypatch.setattr(share_panel, "_start", lambda *given: begun.append(given[-1]))
    asked = share_panel.begin(key, VISITOR, run.id, "", "lamp", True)
    assert asked is there and begun == []
    _, _, _, state, share, confirm, back, *_ = share_panel.show(key, VISITOR, run.id, "lamp", key["project"], asked)
    assert "alice/lamp exists already" in state and confirm.visible and back.visible and not share.visible
    _, _, _, state, share, confirm, *_ = share_panel.show(key, VISITOR, run.id, "other", key["project"], asked)
    assert "exists already" not in state and share.visible and not confirm.visible
    with pytest.raises(gr.Error, match="The name has changed"):
        share_panel.overwrite(key, VISITOR, run.id, "", "other", True, asked)
    share_panel.overwrite(key, VISITOR, run.id, "", "lamp", True, asked)
    assert begun == ["c" * 40]


class Line:
    """A line of jobs in which one job ends as it is told."""

    def __init__(self, run: Run, status: str, error: str | None = None):
        self.run, self.status, self.error, self.submitted = run, status, error, []

    def of_run(self, run, kind):
        return []

    def submit(self, kind, session, run, args, title, timing, units):
        self.submitted.append(args)
        return jobs.Job("1", kind, session, str(run), args, title, jobs.WAITING, 0.0)

    def progress(self, job):
        return jobs.Progress(0.5, "converting", None)

    def read(self, folder):
        job = jobs.Job("1", "export", "s", str(self.run.path), (), "t", self.status, 0.0)
        return replace(job, error=self.error)


@pytest.mark.parametrize(("status", "error", "sentence"), [
    (jobs.DONE, None, None), (jobs.FAILED, "It broke.", "It broke."), (jobs.CANCELLED, None, "its job was stopped"),
])  # fmt: skip
def test_the_file_is_made_in_the_line_first(visitor, monkeypatch, status, error, sentence):
    key, run = visitor
    line, said = Line(run, status, error), []
    monkeypatch.setattr(share_panel.jobs, "line_of", lambda root: line)
    job = share_panel._job_for_file(run, key["session"])
    if sentence:
        with pytest.raises(ExportError, match=sentence):
            share_panel._wait(job, lambda done, message: said.append(message))
    else:
        share_panel._wait(job, lambda done, message: said.append(message))
    assert line.submitted == [("export", str(run.path), "--format", "litertlm", "--quantize", "int8")]
    assert said == ["Making the file first: converting"]


def test_an_errand_ends_with_a_result_a_sentence_or_ours():
    def fails(progress):
        raise RunError("It is gone.")

    def breaks(progress):
        raise ZeroDivisionError

    done = Errand(lambda progress: progress(0.5, "half") or 7)
    assert [each is done for each in done.watch()][-1] and (done.result, done.error, done.fraction) == (7, None, 0.5)
    for work, error in ((fails, "It is gone."), (breaks, OURS)):
        errand = Errand(work)
        assert errand.over.wait(10) and errand.error == error


def test_an_errand_that_is_stopped_ends_at_its_next_word_but_is_done_when_that_is_its_last():
    def works(last: float):
        asked = threading.Event()

        def work(progress):
            asked.wait(30)
            progress(last, "so far")
            return 7

        errand = Errand(work)
        errand.stop()
        asked.set()
        assert errand.over.wait(30)
        return errand.result, errand.stopped, errand.error

    assert works(0.5) == (None, True, "It was stopped.")
    assert works(1.0) == (7, False, None)
