"""Which bases a visitor may train: what is offered where, what a typed name may be, what the Hub says of it."""

from __future__ import annotations

import gradio as gr
import pytest

from pipeline.errors import ConfigError, HubError, PipelineError
from pipeline.model import FUNCTION_GEMMA, BaseModel
from pipeline.ui import account, base_choice
from tests.small_world import tiny_checkpoint


@pytest.fixture
def laptop(monkeypatch):
    monkeypatch.setattr(account, "is_owners", lambda: True)
    monkeypatch.setattr(account, "can_sign_in", lambda: False)


@pytest.fixture
def space(monkeypatch):
    monkeypatch.setattr(account, "is_owners", lambda: False)
    monkeypatch.setattr(account, "can_sign_in", lambda: True)
    monkeypatch.setattr(account, "token", lambda oauth: oauth.token if oauth else None)


def signed_in(token: str) -> gr.OAuthToken:
    return gr.OAuthToken(token=token, scope="", expires_at=2**31)


def test_a_space_without_sign_in_offers_the_embedded_one_alone(monkeypatch):
    monkeypatch.setattr(account, "is_owners", lambda: False)
    monkeypatch.setattr(account, "can_sign_in", lambda: False)
    assert [name for _, name in base_choice.bases()] == ["embedded"]
    for other in (FUNCTION_GEMMA, "alice/lamp", None, 7, ["embedded"]):
        with pytest.raises(ConfigError):
            base_choice.checked(other)


def test_a_name_is_never_a_folder(laptop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_checkpoint(tmp_path / "some" / "model")
    for folder in ("some/model", str(tmp_path / "some/model"), "~", ".", "../" + tmp_path.name):
        with pytest.raises(ConfigError):
            base_choice.checked(folder)
    for text in ("no slash", "a/b/c", "../etc/passwd", "alice/lamp@main", "https://huggingface.co/alice/lamp"):
        with pytest.raises(PipelineError):
            base_choice.checked(text)
    assert base_choice.checked(" alice/lamp ") == "alice/lamp"
    assert base_choice.checked(FUNCTION_GEMMA) == FUNCTION_GEMMA


def test_the_hub_is_asked_before_anything_starts(space, hub, tmp_path):
    checkpoint = tiny_checkpoint(tmp_path / "model")
    hub.repo("alice/lamp", checkpoint, private=True)
    hub.repo("bob/other", checkpoint)
    alice = signed_in(hub.user("alice"))
    assert base_choice.look("embedded", None) == ""
    assert "You may use alice/lamp" in base_choice.look("alice/lamp", alice)
    assert "bad" in base_choice.look("bob/other", alice), "not in an account of hers"
    assert "bad" in base_choice.look("alice/lamp", None)
    assert "bad" in base_choice.look("some <b>where", alice) and "<b>" not in base_choice.look("some <b>where", alice)
    assert hub.leaks() == []


def test_fetching_says_how_far_it_is_and_gives_back_the_base():
    base = BaseModel("x", "/x", None, False, "x")

    def find(progress):
        progress(0.5, "fetching the weights")
        return base

    def drain(watched):
        while True:
            try:
                next(watched)
            except StopIteration as end:
                return end.value

    assert drain(base_choice.fetched(find)) == base

    def refused(progress):
        raise HubError("You must accept the licence first.")

    with pytest.raises(PipelineError, match="accept the licence"):
        drain(base_choice.fetched(refused))
