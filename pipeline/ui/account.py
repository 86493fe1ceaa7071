"""Whose Hugging Face account acts: on a Space the visitor's own, on a laptop its owner's. Never a secret of the Space.

Signing in is gradio's OAuth: the token lies in a signed cookie of the visitor's browser and, while an action of theirs lasts, in this
process's memory. It never goes to the disk, a log, a state, a page or another process. This file knows nothing about what is done with it.

    @door
    def handler(key, oauth: gr.OAuthToken | None = None):      # gradio fills it in by its type hint, also for callers of the API
        push(..., token=need_token(oauth))
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import gradio as gr
from gradio.utils import get_space

from pipeline.errors import PipelineError

OAUTH = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
"""What a Space with `hf_oauth: true` finds in its environment. Without all of them gradio's sign-in refuses to start."""
PLACEHOLDER = "mock-oauth-token-for-local-dev"  # gradio's own, where it imitates the sign-in
LOOPBACK = ("", "127.0.0.1", "localhost", "::1")


def on_space() -> bool:
    """Whether this is a Hugging Face Space."""
    return get_space() is not None


def can_sign_in() -> bool:
    """Whether the page offers to sign in: on a Space that has OAuth. A laptop needs none, its token is there or not."""
    return on_space() and all(os.environ.get(name) for name in OAUTH)


def is_owners() -> bool:
    """Whether only this computer's owner reaches the server: then, and only then, its own Hub token may act."""
    shared = os.environ.get("GRADIO_SHARE", "").lower() == "true"
    return not on_space() and not shared and os.environ.get("GRADIO_SERVER_NAME", "").lower() in LOOPBACK


REFUSED = "sign-in"
"""In the address after a sign-in that Hugging Face did not grant."""


def app_options() -> dict[str, Any]:
    """For `launch(app_kwargs=...)`: a refused sign-in comes back to the page. gradio alone answers it with an error of the server."""
    if not can_sign_in():
        return {}
    from authlib.integrations.base_client.errors import OAuthError

    def back(request: Any, error: Exception) -> Any:
        from fastapi.responses import RedirectResponse

        before = parse_qsl(urlsplit(request.query_params.get("_target_url", "")).query)
        return RedirectResponse(f"/?{urlencode({**dict(before), REFUSED: 'refused'})}")

    return {"exception_handlers": {OAuthError: back}}


def token(oauth: gr.OAuthToken | None) -> str | None:
    """The token of whoever asks: theirs if they signed in or sent one, on a laptop the one of `hf auth login`; None without either."""
    if oauth is not None and oauth.token != PLACEHOLDER:
        return oauth.token
    if not is_owners():
        return None
    from huggingface_hub import get_token

    return get_token()


def need_token(oauth: gr.OAuthToken | None) -> str:
    """The same. Raises PipelineError with how to sign in here."""
    found = token(oauth)
    if found:
        return found
    if can_sign_in():
        raise PipelineError("This needs your Hugging Face account: press “Sign in with Hugging Face” at the top, then try again.")
    if on_space():
        raise PipelineError("This Space has no sign-in, so it cannot act for you: its owner has to set `hf_oauth: true` in its README.md.")
    if not is_owners():
        raise PipelineError(
            "This server can be reached from other computers, so it does not use its owner's Hub token. Start it for this computer only, "
            "without GRADIO_SERVER_NAME and GRADIO_SHARE."
        )
    raise PipelineError("This computer has no Hugging Face token. Run `hf auth login` in a terminal, then try again.")
