"""The base model of a training as the visitor chooses it: whether they may use it, and fetching it with their token.

A training gets no token: this server fetches the base first, and the training finds it on the disk. Who may use what is decided in
`pipeline.hub.access`; a name that a browser sent never becomes a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.errors import ConfigError, PipelineError
from pipeline.hub import check_repo_id
from pipeline.hub.access import check_base
from pipeline.model import FUNCTION_GEMMA, BaseModel
from pipeline.ui import account
from pipeline.ui.errands import Errand
from pipeline.ui.widgets import door, note
from pipeline.ui.work_view import bar, size

EMBEDDED = "embedded"
LONGEST = 200
"""Characters of a name; the Hub's have 96 after the owner's, and a file system refuses to look for much longer ones."""
BASES = [("Embedded demo model", EMBEDDED)]
"""What anybody may train here."""
WITH_A_TOKEN = [("FunctionGemma 270M (gated: uses this machine's own Hub token)", FUNCTION_GEMMA)]
SIGNED_IN = [("FunctionGemma 270M (gated: sign in with an account that has accepted its licence)", FUNCTION_GEMMA)]
HELP = "The model that is trained. The embedded one is a small stand-in that ships with the studio."
OWN = " Or type owner/name of a gemma3_text model in an account of yours on the Hub."


def bases() -> list[tuple[str, str]]:
    """Names and ids of the bases on offer. On a Space the machine's token is its owner's, not the visitor's: nobody else may use it."""
    return BASES + (SIGNED_IN if account.can_sign_in() else WITH_A_TOKEN if account.is_owners() else [])


def dropdown() -> gr.Dropdown:
    """The choice of a base; where the Hub can be used, a name may be typed too."""
    offered = bases()
    hub = len(offered) > len(BASES)
    return gr.Dropdown(
        offered, value=EMBEDDED, label="base", info=HELP + (OWN if hub else ""), allow_custom_value=hub, elem_id="train-base"
    )  # fmt: skip


def checked(base: Any) -> str:
    """`base` as the browser sent it, if it is one of `bases()` or can be the name of a repository. Raises ConfigError, HubError."""
    offered = bases()
    if base in [name for _, name in offered]:
        return base
    if len(offered) == len(BASES) or not isinstance(base, str) or len(base) > LONGEST or Path(base).expanduser().exists():
        raise ConfigError(f"There is no base model {str(base)[:60]!r} here; choose one from the list.")
    return check_repo_id(base.strip())


@door
def look(base: Any, oauth: gr.OAuthToken | None) -> str:
    """Whether the visitor may use the base they chose, before anything is started; nothing for the embedded one."""
    try:
        if (name := checked(base)) == EMBEDDED:
            return ""
        found = check_base(name, account.token(oauth))
    except PipelineError as problem:
        return note(str(problem), "bad")
    return note(f"You may use {found.id}: {size(found.size)} are fetched when a training begins, unless they are here already.", "good")


def fetched(find: Callable[[Callable[[float, str], None]], BaseModel]) -> Iterator[tuple[Any, str]]:
    """Waits for `find`, which gets a progress callback: yields (nothing new, a progress bar), returns the base. Raises PipelineError."""
    errand = Errand(find)
    for now in errand.watch():
        if not now.over.is_set():
            yield gr.skip(), bar(now.fraction, f"{now.message[:1].upper()}{now.message[1:]}")
    if errand.error:
        yield gr.skip(), ""
        raise PipelineError(errand.error)
    return errand.result
