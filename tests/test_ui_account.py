"""Whose token acts: a table of every place and every visitor; and that a Space's sign-in asks for no more than README.md declares."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
import yaml

from pipeline.errors import PipelineError
from pipeline.ui import account

ROOT = Path(__file__).resolve().parent.parent
OWN = gr.OAuthToken(token="hf_visitor", scope="openid", expires_at=0)
MOCK = gr.OAuthToken(token=account.PLACEHOLDER, scope="openid", expires_at=0)
SPACE = {"SYSTEM": "spaces", "SPACE_ID": "someone/studio"}
SIGN_IN = {**SPACE, **dict.fromkeys(account.OAUTH, "x")}
OPEN, SHARED = {"GRADIO_SERVER_NAME": "0.0.0.0"}, {"GRADIO_SHARE": "True"}
SECRET = {"HF_TOKEN": "hf_owner"}

# where, who asks, whose token, and what is said where there is none
CASES = [
    ("a Space", SIGN_IN, None, None, "press “Sign in with Hugging Face”"),
    ("a Space with a secret", {**SIGN_IN, **SECRET}, None, None, "press “Sign in"),
    ("a Space, signed in", {**SIGN_IN, **SECRET}, OWN, "hf_visitor", ""),
    ("a Space, gradio's placeholder", {**SIGN_IN, **SECRET}, MOCK, None, "press “Sign in"),
    ("a Space without OAuth", {**SPACE, **SECRET}, None, None, "hf_oauth: true"),
    ("a laptop", SECRET, None, "hf_owner", ""),
    ("a laptop, gradio's placeholder", SECRET, MOCK, "hf_owner", ""),
    ("a laptop, a program with its own token", SECRET, OWN, "hf_visitor", ""),
    ("a laptop without a token", {}, None, None, "Run `hf auth login`"),
    ("a server for others", {**SECRET, **OPEN}, None, None, "does not use its owner's Hub token"),
    ("a server for others, a program with its own token", {**SECRET, **OPEN}, OWN, "hf_visitor", ""),
    ("a shared link", {**SECRET, **SHARED}, None, None, "does not use its owner's Hub token"),
]


@pytest.fixture
def somewhere(monkeypatch, tmp_path):
    """Sets the environment of a place, and nothing besides."""
    from huggingface_hub import constants

    for name in (*SIGN_IN, *OPEN, *SHARED, *SECRET, "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))

    def go(place: dict[str, str]) -> None:
        for name, value in place.items():
            monkeypatch.setenv(name, value)

    return go


@pytest.mark.parametrize("place, oauth, token, words", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_whose_token_acts(somewhere, place, oauth, token, words):
    somewhere(place)
    assert account.token(oauth) == token
    if token:
        assert account.need_token(oauth) == token
    else:
        with pytest.raises(PipelineError, match=words):
            account.need_token(oauth)


def test_signing_in_is_offered_only_where_gradio_can_do_it(somewhere):
    """Off a Space gradio's button asks the Hub at start, and does not start without an answer: it is never made there."""
    assert not account.can_sign_in()
    somewhere({**SPACE, "OAUTH_CLIENT_ID": "x"})
    assert not account.can_sign_in() and account.app_options() == {}
    somewhere(SIGN_IN)
    assert account.can_sign_in()


# https://huggingface.co/docs/hub/spaces-config-reference and /oauth#currently-supported-scopes
KEYS = {
    "title", "emoji", "colorFrom", "colorTo", "sdk", "python_version", "sdk_version", "suggested_hardware", "suggested_storage", "app_file",
    "app_build_command", "app_port", "base_path", "fullWidth", "header", "short_description", "models", "datasets", "tags", "thumbnail",
    "pinned", "hf_oauth", "hf_oauth_scopes", "hf_oauth_expiration_minutes", "hf_oauth_authorized_org", "disable_embedding",
    "startup_duration_timeout", "custom_headers", "preload_from_hub", "license",
}  # fmt: skip
SCOPES = {
    "email", "read-billing", "read-repos", "gated-repos", "contribute-repos", "write-repos", "manage-repos", "read-collections",
    "write-collections", "inference-api", "jobs", "webhooks", "write-discussions",
}  # fmt: skip
FRONT = yaml.safe_load((ROOT / "README.md").read_text("utf-8").split("---")[1])


def test_the_front_matter_has_only_keys_that_a_space_knows():
    assert set(FRONT) <= KEYS
    assert FRONT["colorFrom"] in {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def test_signing_in_asks_for_the_least():
    """contribute-repos makes repositories and touches only those; nothing here reads or writes the visitor's other ones."""
    assert FRONT["hf_oauth"] is True and 60 <= FRONT["hf_oauth_expiration_minutes"] <= 43_200
    assert set(FRONT["hf_oauth_scopes"]) <= SCOPES
    assert set(FRONT["hf_oauth_scopes"]) <= {"contribute-repos", "gated-repos", "jobs", "read-billing"}
