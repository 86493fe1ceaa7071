"""The page as a whole: header, first page, the five steps with their state, theme and style.

Each step is a module with `build(page)`; this file places them, opens projects and knows nothing about what a step does.
"""

from __future__ import annotations

import gradio as gr

from pipeline.ui import dataset_tab, evaluate_tab, export_tab, playground_tab, train_tab
from pipeline.ui.session import STEPS, Page, welcome

BUILD = {
    "dataset": dataset_tab.build,
    "train": train_tab.build,
    "evaluate": evaluate_tab.build,
    "playground": playground_tab.build,
    "export": export_tab.build,
}


def build() -> gr.Blocks:
    """The app, not yet launched."""
    with gr.Blocks(title="FunctionGemma Studio", analytics_enabled=False, delete_cache=(3600, 86400)) as demo:
        key = gr.BrowserState(None, storage_key="functiongemma-studio", secret="functiongemma-studio")
        version = gr.State(0)
        with gr.Tabs(selected="dataset", overflow_behavior="wrap", elem_id="steps") as tabs:
            page = Page(key, version, tabs)
            for step in STEPS:
                with gr.Tab(step.capitalize(), id=step, elem_id=f"step-{step}") as page.items[step]:
                    BUILD[step](page)
        demo.load(welcome, key, key).then(**page.touch())
    return demo
