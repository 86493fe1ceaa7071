"""The app.py of a shared demo, copied to the top of its folder: the playground for the one model that lies beside it.

`python app.py` serves it at http://127.0.0.1:7860. It needs gradio and LiteRT-LM, no torch. Everything that may be changed without a look
at the code is JSON: demo.json (title, words), tools.json, requests.json (to try), results.json (what the functions might return).
Nothing that a visitor types is written anywhere.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr  # noqa: E402

from pipeline.engine import Engine  # noqa: E402
from pipeline.tools import tools_from_json  # noqa: E402
from pipeline.ui import solo, theme  # noqa: E402
from pipeline.ui.widgets import esc  # noqa: E402

HERE = Path(__file__).resolve().parent
THREADS = 2
"""Cores of a free Space; more threads than cores make a model many times slower."""
WAITING = 16
"""Requests that may wait for the one that is answered; a visitor beyond that is told so at once."""
MAX_NEW_TOKENS = 192


def read(name: str) -> Any:
    """What a JSON file of this folder holds."""
    return json.loads((HERE / name).read_text("utf-8"))


def model() -> solo.Model:
    """The model of this folder, open. Raises PipelineError if LiteRT-LM cannot open it."""
    settings = read("demo.json")
    engine = Engine(HERE / settings["file"], settings["context"], THREADS)
    return solo.Model(
        title=settings["title"], tools=tuple(tools_from_json(read("tools.json"))), ask=lambda prompt: engine.answer(prompt, MAX_NEW_TOKENS),
        developer=settings["developer"], requests=tuple(read("requests.json")), results=read("results.json"), about=about(settings),
    )  # fmt: skip


def about(settings: dict[str, Any]) -> str:
    """What it is, in a sentence or two, with the way to the model."""
    card = settings["card"]
    link = f' <a href="{esc(card)}" target="_blank" rel="noopener">About the model</a>.' if card.startswith("https://") else ""
    return f'<p class="lead">{esc(settings["words"])}{link}</p>'


def foot(settings: dict[str, Any]) -> str:
    """Whose demo this is not, and the model's terms."""
    lines = "".join(f'<p class="quiet">{esc(settings[name])}</p>' for name in ("independent", "notice"))
    return f'<footer class="solo-foot">{lines}</footer>'


def build(shown: solo.Model) -> gr.Blocks:
    """The page, not yet launched."""
    with gr.Blocks(title=shown.title, analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        outputs = solo.build(lambda _: shown, gr.State(None))
        gr.HTML(foot(read("demo.json")))
        page.load(lambda: solo.opened(shown), None, outputs, show_progress="hidden", api_visibility="private")
    return page


if __name__ == "__main__":
    build(model()).queue(max_size=WAITING, default_concurrency_limit=4).launch(
        theme=theme.theme(), css_paths=theme.CSS, show_error=False, run_history=False, enable_monitoring=False, max_file_size="1mb",
        footer_links=["gradio", "settings"], ssr_mode=False,
    )  # fmt: skip
