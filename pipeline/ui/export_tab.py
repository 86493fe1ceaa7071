"""The export step."""

from __future__ import annotations

from pipeline.ui import widgets
from pipeline.ui.session import Page


def build(page: Page) -> None:
    """Place the step inside its gr.Tab and wire it."""
    widgets.lead("Not here yet.")
