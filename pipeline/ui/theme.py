"""How every page of this project looks: gradio's theme with few changes, and the style sheets beside this file.

A shared demo carries copies of both. Nothing is fetched from anywhere, fonts are the system's.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

CSS = sorted(Path(__file__).parent.glob("*.css"))
SYSTEM_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO_FONT = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def theme() -> gr.themes.Base:
    """Neutral greys, one accent, the system's fonts (nothing is fetched)."""
    base = gr.themes.Base(
        primary_hue="blue", neutral_hue="neutral", font=SYSTEM_FONT, font_mono=MONO_FONT, radius_size=gr.themes.sizes.radius_md
    )
    return base.set(
        body_background_fill="#fbfbfc", body_background_fill_dark="#141518", color_accent="#2457c5", color_accent_soft="#e8eefc",
        link_text_color="#2457c5", link_text_color_dark="#8fb4ff", link_text_color_hover="#1c469f", link_text_color_hover_dark="#b3ccff",
        button_primary_background_fill="#2457c5", button_primary_background_fill_dark="#2f66dd",
        button_primary_background_fill_hover="#1c469f", button_primary_background_fill_hover_dark="#4177e6",
        button_primary_text_color="white", button_secondary_background_fill="#ffffff", button_secondary_background_fill_dark="#24262b",
        button_secondary_border_color="#cfd3d9", button_secondary_border_color_dark="#44484f", button_border_width="1px",
        block_background_fill="#ffffff", block_background_fill_dark="#1b1d21", block_border_color="#dfe1e5",
        block_border_color_dark="#34373d",
        input_background_fill="#ffffff", input_background_fill_dark="#24262b", background_fill_secondary_dark="#1b1d21",
        border_color_primary="#dfe1e5", border_color_primary_dark="#34373d", block_label_background_fill_dark="#24262b",
        block_label_text_size="13px", block_title_text_weight="500", input_border_width="1px",
        input_border_color="#cfd3d9", input_border_color_dark="#44484f",
        input_placeholder_color="#70757d", input_placeholder_color_dark="#8b9099",
    )  # fmt: skip
