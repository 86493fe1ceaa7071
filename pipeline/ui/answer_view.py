"""An answer as it is shown: the calls as cards, the text with every control token, how long it took. Also what may be asked at all.

Used by the playground, by a model opened from the Hub and, copied, by a shared demo. Knows no model: texts come in, HTML goes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pipeline import functiongemma, jsontext
from pipeline.engine import Written
from pipeline.errors import PipelineError
from pipeline.functiongemma import Reply
from pipeline.tools import ToolCall
from pipeline.ui.widgets import count, esc, note, reply_cards, typed

MAX_REQUEST = 2_000
"""Characters of a request; a longer one is not what such a model is for, and would hold up the line."""
WIRE = {
    "language": None, "lines": 2, "elem_classes": "wire", "interactive": False, "wrap_lines": True, "show_line_numbers": False,
    "visible": False,
}  # fmt: skip
"""Options of the gr.Code that shows what a model wrote; it appears with the first answer."""


@dataclass(frozen=True)
class Answer:
    """What a model wrote to a prompt, read back. Times in seconds, without loading: of the whole text, and until its first token."""

    prompt: str
    text: str
    reply: Reply
    tokens: int
    seconds: float
    first: float
    stopped: bool

    @classmethod
    def of(cls, prompt: str, written: Written, declared: Sequence[Mapping[str, Any]]) -> Answer:
        """What was `written` to a prompt with these tools, as OpenAI shapes them."""
        reply = functiongemma.parse(written.text, declared)
        return cls(prompt, written.text, reply, written.tokens, written.seconds, written.first, written.stopped)

    @property
    def calls(self) -> list[ToolCall]:
        """The calls that could be read, without how they were."""
        return [ToolCall(call.name, call.arguments) for call in self.reply.calls]


def checked_request(text: Any) -> str:
    """A request that may be sent, without the spaces around it. Raises PipelineError for none and for one that is too long."""
    request = typed(text).strip()
    if not request:
        raise PipelineError("Type a request first, or choose one of the suggestions.")
    if len(request) > MAX_REQUEST:
        raise PipelineError(f"A request may have {MAX_REQUEST:,} characters, this one has {len(request):,}. Shorten it.")
    return request


def kept(request: str, calls: Sequence[ToolCall]) -> str:
    """What an answer belongs to, as text that the page holds beside it until `asked` reads it back."""
    return jsontext.dumps({"request": request, "calls": [call.to_json() for call in calls]})


def asked(text: Any) -> tuple[str, list[ToolCall]]:
    """The request and the calls of the answer that a page shows. Raises PipelineError where there is none."""
    try:
        found = jsontext.loads(typed(text))
        return checked_request(found["request"]), [ToolCall.from_json(call) for call in found["calls"]]
    except (jsontext.JsonTextError, TypeError, KeyError):
        raise PipelineError("Send a request first.") from None


def chips(requests: Sequence[str], words: str) -> str:
    """Requests to try, as buttons of a `pickable`, below what `words` say of them."""
    buttons = "".join(f'<button type="button" class="chip" data-pick="{esc(one)}">{esc(one)}</button>' for one in requests)
    return f'<p class="quiet">{esc(words)}</p><div class="chips">{buttons}</div>' if buttons else ""


def shown(answer: Answer, warning: str | None = None) -> tuple[str, Any]:
    """An answer as cards with its figures, and its raw text with every control token; above it what is to be said of the request."""
    above = note(warning, "bad") if warning else ""
    cut = "" if answer.stopped else note(f"Cut after {count(answer.tokens, 'token')}: the model did not come to an end.", "bad")
    cards = reply_cards(answer.reply, answer.text)
    return f'<div class="answer">{above}{cards}{cut}{figures(answer)}</div>', gr.Code(answer.text, visible=True)


def figures(answer: Answer) -> str:
    """`0.21 s to the first token · 17 tokens in 0.42 s · 76 tokens/s`; the speed is that of writing, after the first token."""
    after = answer.tokens > 1 and answer.seconds > answer.first
    speed = (answer.tokens - 1) / (answer.seconds - answer.first) if after else answer.tokens / max(answer.seconds, 1e-9)
    whole = f"{count(answer.tokens, 'token')} in {answer.seconds:.2f} s"
    return f'<p class="quiet figures">{answer.first:.2f} s to the first token · {whole} · {speed:,.0f} tokens/s</p>'
