"""The line at the top of the page: where the work is done, which base is trained, whose account acts; and a copy of the Space.

It shows and links; what a token may do is in `account`, who may open a project in `session`.
"""

from __future__ import annotations

import os
from pathlib import Path

import gradio as gr

from pipeline import hub
from pipeline.errors import PipelineError
from pipeline.model import FUNCTION_GEMMA, cpu_threads
from pipeline.runs import Project
from pipeline.ui import account
from pipeline.ui.widgets import count, door, esc

NAME = '<strong class="name">FunctionGemma Studio</strong>'
EMBEDDED = "embedded demo model"
STAND_IN = "A small stand-in that ships with the studio. It shows the whole way; it does not replace FunctionGemma 270M."
SIGN_IN, SIGN_OUT = "Sign in with Hugging Face", "Sign out"
# gradio's own script sends back to the address up to the first &, so the open step would be lost.
THERE_AND_BACK = f"""
(label) => {{
  const way = label === '{SIGN_IN}' ? '/login/huggingface' : '/logout';
  window.location.assign(way + '?_target_url=' + encodeURIComponent('/' + window.location.search));
}}
"""
COPY = """
<div><h2>Your own copy</h2><p>A duplicate of this Space is private and works as it is: on free CPU hardware, without a secret, with its own
sign-in. It needs a Hugging Face account. For GPU slots choose ZeroGPU in its settings; a free account that is verified and older than 30
days may have two such Spaces. Like every Space's, its disk is emptied at each restart.</p></div>
"""


def place() -> str:
    """Where the work is done, in words. Looks at no accelerator's library, which would take seconds."""
    if os.environ.get("SPACES_ZERO_GPU"):
        return "ZeroGPU"
    if any(Path("/proc/driver/nvidia/gpus").glob("*")):
        return "GPU"
    return f"CPU, {count(cpu_threads(), 'core')}"


def brand(project: Project | None = None) -> str:
    """The name, the place, and the base: that of the project's newest training, else the one that a training would start from."""
    runs = project.runs() if project else []
    base = runs[0].base if runs else None
    label = base["label"] if base else EMBEDDED
    if base and not base["embedded"]:
        revision = f", revision {base['revision'][:12]}" if base["revision"] else ""
        about = f"<p>{esc(base['id'])}{esc(revision)}.</p>"
    else:
        about = f"<p>{esc(STAND_IN)}</p>{_way_to_the_real_one()}"
    return (
        f'<div class="brand two-lines">{NAME}<div class="facts-line"><span>{esc(place())}</span>'
        f'<details class="base"><summary>base: {esc(label)}</summary><div>{about}</div></details></div></div>'
    )


def _way_to_the_real_one() -> str:
    page = f'<a href="https://huggingface.co/{FUNCTION_GEMMA}" target="_blank" rel="noopener">its page</a>'
    yours = "sign in here" if account.on_space() else "run <code>hf auth login</code> on this computer"
    return f"<p>For the real one: accept the licence on {page}, {yours}, then choose it as <em>base</em> under Train, Advanced.</p>"


@door
def who(oauth: gr.OAuthToken | None = None) -> str:
    """Whose Hub account acts, asked of the Hub itself; nothing where none does."""
    token = account.token(oauth)
    if not token:
        return ""
    try:
        whose = "signed in as" if account.on_space() else "Hub account of this computer:"
        return f'<p class="who">{whose} <strong>{esc(hub.account(token).name)}</strong></p>'
    except PipelineError as problem:
        what = "signed in" if account.on_space() else "this computer has a Hub token"
        return f'<p class="who" title="{esc(problem)}">{what}, not checked</p>'


def sign_in() -> gr.LoginButton | None:
    """The button, where signing in is possible. Made outside the page, because inside it gradio wires it up itself."""
    if not account.can_sign_in():
        return None
    return gr.LoginButton(SIGN_IN, SIGN_OUT, size="sm", scale=0, min_width=90, elem_id="sign-in")


def place_sign_in(button: gr.LoginButton | None, demo: gr.Blocks) -> None:
    """Put the button where this is called, and let it come back to the project and the step that were open."""
    if button is not None:
        button.render()
        button.click(None, button, None, js=THERE_AND_BACK)
        demo.load(button._check_login_status, None, button, show_progress="hidden")


def copy_card() -> None:
    """On a Space: what a copy of one's own needs, and the button that makes it. Elsewhere nothing."""
    if not account.on_space():
        return
    with gr.Row(elem_classes="copy", equal_height=True):
        gr.HTML(COPY)
        gr.DuplicateButton("Duplicate this Space", variant="secondary", min_width=180)
