"""The playground for one model alone: a request, the calls, the raw text, what a function might return and what the model says then.

The page of a shared demo, where it is copied unchanged, and of a model opened from the Hub. Which model that is, `find` says; the page
keeps nothing but the last request and its calls, in the visitor's own browser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from pipeline import functiongemma, jsontext, simulated
from pipeline.engine import Written
from pipeline.errors import PipelineError
from pipeline.examples import DEFAULT, fresh, with_results
from pipeline.tools import ToolCall, ToolSpec
from pipeline.ui.answer_view import WIRE, Answer, asked, checked_request, chips, kept, shown
from pipeline.ui.widgets import count, door, empty, esc, note, parameter_table, pickable, picked

MAX_RESULT = 4_000
"""Characters of the results that are sent back to the model."""
WAITING = '<p class="note">Working.</p>'
NOT_YET = empty("Nothing sent yet", "What the model makes of a request stands here, as a call and as the text that it is.")
SIMULATED = (
    '<p class="section">Answer as the function</p><p class="quiet">Nothing is really done here. This is what your app might return; change '
    "it, send it, and see what the model says to the person.</p>"
)


@dataclass(frozen=True)
class Model:
    """What the page needs of a model: its functions, how it is asked, and requests and results to try.

    `ask` takes a prompt; `developer` is the first message of every conversation, as the model was trained; `about` is HTML.
    """

    title: str
    tools: tuple[ToolSpec, ...]
    ask: Callable[[str], Written]
    developer: str = DEFAULT
    requests: tuple[str, ...] = ()
    results: Mapping[str, Any] = field(default_factory=dict)
    about: str = ""

    def answer(self, messages: list[dict[str, Any]]) -> Answer:
        """The answer to a conversation. Raises PipelineError where it cannot be rendered, does not fit or fails."""
        declared = [tool.to_json() for tool in self.tools]
        prompt = functiongemma.render_prompt(messages, declared, add_generation_prompt=True)
        return Answer.of(prompt, self.ask(prompt), declared)


Find = Callable[[Any], Model]
"""From the value of the page's `which` to its model; raises PipelineError."""


def head(model: Model) -> str:
    """Title and what is to be said of the model."""
    return f'<div class="solo-head"><h1>{esc(model.title)}</h1>{model.about}</div>'


def functions(tools: tuple[ToolSpec, ...]) -> str:
    """What the model can call."""
    cards = (
        f'<article class="tool"><header><code>{esc(tool.name)}</code></header>'
        f"<p>{esc(tool.description) or '<span class=quiet>No description.</span>'}</p>{parameter_table(tool)}</article>"
        for tool in tools
    )
    return f'<div class="tools">{"".join(cards)}</div>'


def suggested(calls: list[ToolCall], results: Mapping[str, Any]) -> str:
    """What the functions of these calls might return, as JSON to be edited."""
    lines = (jsontext.dumps({"name": call.name, "response": simulated.result(call, results)}) for call in calls)
    return "[\n  " + ",\n  ".join(lines) + "\n]"


def read_results(text: Any, calls: list[ToolCall]) -> list[Any]:
    """What was typed as results, one a call. Raises PipelineError with the shape that is expected."""
    words = text if isinstance(text, str) else ""
    if len(words) > MAX_RESULT:
        raise PipelineError(f"Results may have {MAX_RESULT:,} characters, these have {len(words):,}. Shorten them.")
    try:
        found = jsontext.loads(words)
    except jsontext.JsonTextError as error:
        raise PipelineError(f"The results are not usable: {error}. Write them as JSON.") from None
    found = found if isinstance(found, list) else [found]
    if len(found) != len(calls):
        raise PipelineError(f"The last answer made {count(len(calls), 'call')}, so {len(calls)} results are expected, found {len(found)}.")
    bare = [one["response"] if isinstance(one, dict) and set(one) == {"name", "response"} else one for one in found]
    return [one if isinstance(one, dict) else {"value": one} for one in bare]


# -- layout


def build(find: Find, which: gr.components.Component) -> list[Any]:
    """Place the page. Returns what `opened` fills, in its order; call it when `which` has a value."""
    # What the answer shown belongs to; a gr.State may be of the next one already.
    last = gr.Textbox("", visible="hidden", elem_classes="unseen")
    title = gr.HTML()
    with gr.Row(elem_classes="ask-row"):
        request = gr.Textbox(label="Request", lines=1, max_lines=4, scale=4, min_width=240, elem_id="solo-request")
        send = gr.Button("Send", variant="primary", scale=0, min_width=120, elem_id="solo-send")
    ideas = pickable(elem_id="solo-ideas")
    with gr.Row(elem_classes="halves"):
        with gr.Column(min_width=300, elem_id="solo-answer"):
            gr.HTML('<h2 class="section">The call</h2>')
            cards = gr.HTML(NOT_YET)
        with gr.Column(min_width=300, elem_id="solo-text"):
            gr.HTML('<h2 class="section">The text that it wrote</h2>')
            raw = gr.Code(label="What the model wrote", **WIRE)
            with gr.Accordion("The prompt that it was given", open=False):
                prompt = gr.Code(label="Prompt", **{**WIRE, "visible": True})
    with gr.Column(visible=False, elem_classes="sheet", elem_id="solo-follow") as after:
        gr.HTML(SIMULATED)
        results = gr.Code(
            "", language="json", label="Results, one for each call", lines=3, show_line_numbers=False, wrap_lines=True,
            elem_id="solo-results"
        )
        reply = gr.Button("Send the result", size="sm", elem_id="solo-reply")
        follow_cards = gr.HTML(elem_id="solo-followed")
        follow_raw = gr.Code(label="What the model wrote", **WIRE)
    with gr.Accordion("What it can call", open=False):
        tools = gr.HTML()

    @door
    def ask(which: Any, text: Any) -> Iterator[list[Any]]:
        """The answer, and what the called functions might return."""
        words, hide = checked_request(text), gr.Code(visible=False)
        yield [WAITING, hide, "", gr.Column(visible=False), "", "", "", hide]
        try:
            model = find(which)
            answer = model.answer(fresh(words, model.developer))
        except PipelineError as problem:
            yield [note(str(problem), "bad"), hide, "", gr.Column(visible=False), "", "", "", hide]
            return
        calls = answer.calls
        offered = suggested(calls, model.results) if calls else ""
        above = functiongemma.spelled_tokens(words)
        yield [*shown(answer, above), answer.prompt, gr.Column(visible=bool(calls)), offered, kept(words, calls), "", hide]

    @door
    def answer_as_function(which: Any, text: Any, last: Any) -> Iterator[tuple[str, Any]]:
        """What the model says when its functions have answered."""
        request, calls = asked(last)
        if not calls:
            raise PipelineError("The last answer made no call, so there is nothing to answer. Send a request that leads to one.")
        results = read_results(text, calls)
        yield WAITING, gr.Code(visible=False)
        try:
            model = find(which)
            yield shown(model.answer(with_results(fresh(request, model.developer), calls, results)))
        except PipelineError as problem:
            yield note(str(problem), "bad"), gr.Code(visible=False)

    # One line for all visitors, shared by whatever asks models on this machine: several at once are not faster.
    asking = {"concurrency_id": "model", "concurrency_limit": 1, "show_progress": "hidden", "api_visibility": "private"}
    outputs = [cards, raw, prompt, after, results, last, follow_cards, follow_raw]
    gr.on([request.submit, send.click], ask, [which, request], outputs, **asking)
    chosen = ideas.select(choose, None, request, show_progress="hidden", queue=False, api_visibility="private")
    chosen.success(ask, [which, request], outputs, **asking)
    reply.click(answer_as_function, [which, results, last], [follow_cards, follow_raw], **asking)
    return [title, ideas, tools, request, send]


@door
def choose(event: gr.EventData) -> str:
    """The request that was clicked."""
    return picked(event)


def opened(model: Model | None) -> list[Any]:
    """The updates for what `build` returned: this model, or none."""
    if model is None:
        return ["", "", "", gr.Textbox(interactive=False), gr.Button(interactive=False)]
    hint = gr.Textbox(interactive=True, placeholder=model.requests[0] if model.requests else "Type what a person would say")
    return [head(model), chips(model.requests, "For example:"), functions(model.tools), hint, gr.Button(interactive=True)]
