"""What several tabs show: calls, coloured tokens, problems, tools; and the door at which errors become sentences.

Every function returns HTML made from data of strangers, so every text passes `esc`. Nothing here reads files or knows a project.
"""

from __future__ import annotations

import functools
import html
import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any

import gradio as gr

from pipeline.errors import PipelineError

log = logging.getLogger("studio")

OURS = "Something went wrong here that is not your doing. It was written to the log; try again, and report it if it stays."


def esc(value: Any) -> str:
    """Text for HTML, quotes included."""
    return html.escape(str(value), quote=True)


def door(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A handler whose PipelineError is shown as its sentence and whose other errors are logged and shown as ours.

    Works on functions and generators. gr.Error passes, everything else never reaches the browser as a traceback.
    """

    def sentence(error: BaseException) -> gr.Error:
        if isinstance(error, gr.Error):
            return error
        if isinstance(error, PipelineError):
            return gr.Error(esc(error), title="", duration=12, print_exception=False)
        log.error("in %s", handler.__qualname__, exc_info=error)
        return gr.Error(OURS, title="", duration=12, print_exception=False)

    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def generator(*args: Any, **kwargs: Any) -> Any:
            try:
                yield from handler(*args, **kwargs)
            except Exception as error:
                raise sentence(error) from None

        return generator

    @functools.wraps(handler)
    def function(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            raise sentence(error) from None

    return function


def lead(text: str) -> gr.HTML:
    """The one sentence every tab begins with."""
    return gr.HTML(f'<p class="lead">{esc(text)}</p>')


def empty(title: str, text: str) -> str:
    """An empty state: what will be here and what fills it."""
    return f'<div class="empty"><strong>{esc(title)}</strong><p>{esc(text)}</p></div>'


def note(text: str, kind: str = "") -> str:
    """One quiet line; kind "good" or "bad" marks it (in words too: never by colour alone)."""
    return f'<p class="note {esc(kind)}">{esc(text)}</p>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A few numbers with their names, in a row."""
    cells = "".join(f"<div><dt>{esc(name)}</dt><dd>{esc(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{cells}</dl>'
