"""Who may open what: ids from a browser lead to a visitor's own folders or to nothing."""

from __future__ import annotations

import shutil

import pytest

from pipeline.errors import PipelineError
from pipeline.ui import session


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path / "workspace"))
    return tmp_path / "workspace"


def test_a_new_visitor_has_nothing_and_leaves_nothing(workspace):
    assert session.welcome(None) == {"session": None, "project": None}
    assert session.projects_of({"session": None}) == []
    assert not workspace.exists()


def test_a_project_is_found_again_by_its_key_alone():
    key = session.create_project(None, "Lamps")
    assert session.project_of(dict(key)).title == "Lamps"
    assert session.welcome(dict(key)) == key


def test_projects_of_one_visitor_stay_together():
    first = session.create_project(None, "One")
    second = session.create_project(first, "Two")
    assert second["session"] == first["session"]
    assert {project.title for project in session.projects_of(first)} == {"One", "Two"}


def test_another_visitor_does_not_get_in():
    mine, theirs = session.create_project(None, "Mine"), session.create_project(None, "Theirs")
    assert session.find_project({"session": mine["session"], "project": theirs["project"]}) is None


HOSTILE = ["../x", "..", "", ".", "/etc", "a/b", "x" * 500, "\x00", None, 7, ["a"], {"a": 1}, "ABCDEF0123456789", "0" * 32]


@pytest.mark.parametrize("id", HOSTILE, ids=repr)
def test_made_up_ids_open_nothing(id):
    key = session.create_project(None, "Mine")
    assert session.find_project({**key, "project": id}) is None
    assert session.find_project({**key, "session": id}) is None
    greeted = session.welcome({**key, "session": id})
    assert (greeted["session"], greeted["project"]) == (None, None)
    with pytest.raises(PipelineError, match="No project is open"):
        session.project_of({**key, "project": id})
    with pytest.raises(PipelineError):
        session.run_of(key, id)


@pytest.mark.parametrize("key", [None, [], "key", 7, {}, {"session": None}, {"project": "12345678"}], ids=repr)
def test_a_key_of_any_shape_is_survived(key):
    assert session.welcome(key) == {"session": None, "project": None}


def test_who_was_here_before_the_disk_was_emptied_is_known_until_they_begin_anew(workspace):
    key = session.create_project(None, "Mine")
    shutil.rmtree(workspace)
    greeted = session.welcome(key)
    assert greeted == {"session": None, "project": None, "lost": True}
    assert session.welcome(greeted) == greeted  # also after another reload
    fresh = session.create_project(greeted, "Again")
    assert "lost" not in fresh and session.welcome(fresh) == fresh and fresh["session"] != key["session"]


def test_a_link_in_the_workspace_is_not_followed(workspace, tmp_path):
    key = session.create_project(None, "Mine")
    (tmp_path / "secret").mkdir()
    (workspace / key["session"] / "feedfeed").symlink_to(tmp_path / "secret")
    assert session.find_project({**key, "project": "feedfeed"}) is None


def test_there_is_a_limit_of_projects(monkeypatch):
    monkeypatch.setattr(session, "MAX_PROJECTS", 2)
    key = session.create_project(session.create_project(None, "a"), "b")
    with pytest.raises(PipelineError, match="2 projects already"):
        session.create_project(key, "c")
