"""The app kit in the export step: source code for the app, made and downloaded by one click. What is in it is `pipeline.export.appkit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.export import appkit
from pipeline.ui.downloads import hand_over
from pipeline.ui.session import Page, run_of
from pipeline.ui.widgets import door, note
from pipeline.ui.work_view import size

HEAD = """
<div class="card-head"><h2>App kit</h2><p class="file">Dart, Kotlin, Swift, JavaScript, Python</p>
<p>Source code for the app that loads the file: your functions' declarations, a strict reader of the model's replies, the exact prompt, and
held-out examples to test them with. The same for every file of a run.</p></div>
"""
SAVE = "() => document.querySelector('#app-kit-file').click()"


def build(page: Page, run_id: gr.Dropdown) -> None:
    """Place the panel inside the export step, and wire it. `run_id` is the run that the step shows."""
    with gr.Column(elem_classes="card", elem_id="app-kit"):
        gr.HTML(HEAD)
        state = gr.HTML(visible=False, elem_id="app-kit-state")
        with gr.Row(elem_classes="actions"):
            take = gr.Button("Download the app kit", elem_id="app-kit-make")
        file = gr.DownloadButton("The app kit", elem_id="app-kit-file")  # clicked by SAVE, never seen
    take.click(make, [page.key, run_id], [state, file], show_progress="hidden").success(None, None, None, js=SAVE)


@door
def make(key: Any, run_id: Any) -> list[Any]:
    """Write the kit beside the run's files, say what is in it, and hand the visitor the .zip."""
    run = run_of(key, run_id)
    kit = appkit.write(run)
    found = f"{run.title}: {kit.vectors} test vectors, {size(kit.size)}."
    words = f"{found} README.md in it says how to use it, and how far each language was checked."
    return [gr.update(value=note(words), visible=True), hand_over(Path(kit.archive), key["session"], kit.sha256)]
