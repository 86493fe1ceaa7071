"""How a part of the page is asked to show itself anew: by one event, one question at a time.

Two events that write the same outputs may be answered in either order; the older answer would stay, or undo what a visitor has changed
since. Nor is one event with several triggers enough: what was raised while it was under way gradio 6.31 asks for later by raising the
*trigger* again, for all of its listeners, and two parts with the same two triggers can keep each other going for good. So each part counts
up a number of its own, in the browser, and nothing but that number's change asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from pipeline.ui.session import SHOWING


class Due:
    """A counter in the page. What happened counts it up (`on`, `again`), and its change asks one handler (`asks`)."""

    def __init__(self) -> None:
        self.number = gr.Number(0, visible="hidden", elem_classes="unseen")

    def on(self, *triggers: Any) -> None:
        """Count up at each of these events, without asking the server."""
        gr.on(list(triggers), **self.again)

    def on_if_asked(self, *triggers: Any) -> None:
        """The same, from the first time on that it was counted up otherwise."""
        gr.on(list(triggers), **{**self.again, "js": "(due) => due && due + 1"})

    @property
    def again(self) -> dict[str, Any]:
        """Arguments of a `.then` or `.success` that counts up."""
        return {"fn": None, "inputs": self.number, "outputs": self.number, "js": "(due) => due + 1"}

    def asks(self, handler: Callable[..., Any], inputs: Sequence[Any], outputs: Any) -> Any:
        """Call `handler` with what the browser holds, once more if it fell due meanwhile. Returns the event, for a `.then`.

        Not through the queue: an answer that its stream loses on a busy machine would be waited for, and nothing asked again.
        """
        return self.number.change(handler, list(inputs), outputs, queue=False, trigger_mode="always_last", **SHOWING)
