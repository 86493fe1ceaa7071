"""What several tabs show: calls, coloured tokens, problems, tools; and the door at which errors become sentences.

Every function returns HTML made from data of strangers, so every text passes `esc`. Nothing here reads files or knows a project.
"""

from __future__ import annotations

import functools
import html
import inspect
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gradio as gr

from pipeline.errors import PipelineError

log = logging.getLogger("studio")

OURS = "Something went wrong here that is not your doing. It was written to the log; try again, and report it if it stays."


def esc(value: Any) -> str:
    """Text for HTML, quotes included."""
    return html.escape(str(value), quote=True)


def door(handler: Callable[..., Any], words: Callable[[Any], str] = esc) -> Callable[..., Any]:
    """A handler whose PipelineError is shown as its sentence and whose other errors are logged and shown as ours.

    Works on functions and generators. gr.Error passes, everything else never reaches the browser as a traceback. `words` makes the
    sentence fit for the page, which takes it as HTML.
    """

    def sentence(error: BaseException) -> gr.Error:
        if isinstance(error, gr.Error):
            return error
        if isinstance(error, PipelineError):
            return gr.Error(words(error), title="", duration=12, print_exception=False)
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
    return f'<p class="note {esc(kind)}">{prose(text)}</p>'


def prose(text: str) -> str:
    """A sentence, with what stands in `backticks` as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", esc(text))


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A few numbers with their names, in a row."""
    cells = "".join(f"<div><dt>{esc(name)}</dt><dd>{esc(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{cells}</dl>'


def count(number: int, noun: str, nouns: str | None = None) -> str:
    """`3 examples`, `1 example`, `1,204 examples`."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


# -- things that are chosen by a click

PICK = """
element.addEventListener('click', event => {
  const chosen = event.target.closest('[data-pick]');
  if (!chosen) return;
  if (chosen.dataset.confirm && !confirm(chosen.dataset.confirm)) return;
  const picked = {pick: chosen.dataset.pick};
  if (chosen.dataset.prompt !== undefined) {
    picked.text = prompt(chosen.dataset.prompt, chosen.dataset.text || '');
    if (picked.text === null) return;
  }
  trigger(chosen.dataset.event || 'select', picked);
});
"""


def pickable(value: str = "", **options: Any) -> gr.HTML:
    """HTML whose buttons with `data-pick` raise a select event (or that of `data-event`); `picked(event)` tells which.

    `data-confirm` asks first; `data-prompt` asks for a text, which is `picked(event, "text")`.
    """
    return gr.HTML(value, js_on_load=PICK, **options)


def picked(event: gr.EventData, key: str = "pick") -> str:
    """What was chosen in a `pickable`: text of the browser's, to be checked by whoever looks it up."""
    data = event._data
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


# -- what a browser sends, where gradio passes it on as it is


def typed(value: Any) -> str:
    """The text of a field; nothing for what is no text. Half a surrogate pair, which no file can hold, becomes a question mark."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def whole_number(text: str) -> int | None:
    """The number that up to eight digits spell."""
    return int(text) if text.isdecimal() and len(text) < 9 else None


# -- calls and replies


def value_text(value: Any) -> str:
    """A JSON value as it is written in JSON."""
    return json.dumps(value, ensure_ascii=False)


def call_line(name: str, arguments: Mapping[str, Any]) -> str:
    """`name(argument="value")` with its parts marked up; text, strings in quotes, so that "2" and 2 differ to the eye."""
    pairs = ", ".join(f"<i>{esc(key)}</i>={esc(value_text(value))}" for key, value in arguments.items())
    return f'<code class="call-line"><b>{esc(name)}</b>({pairs})</code>'


def call_card(call: Any) -> str:
    """One tool call (a `ToolCall`, or a parsed `Call` with its status) as a card with its JSON."""
    text = json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False, indent=2)
    codes = [code.replace("_", " ") for code in getattr(call, "diagnostics", ())]
    remark = f'<p class="remark">Read with a repair: {esc(", ".join(codes))}</p>' if codes else ""
    if codes == ["unknown tool"]:
        remark = '<p class="remark">There is no tool of this name in the dataset.</p>'
    return (
        f'<div class="call">{call_line(call.name, call.arguments)}{remark}'
        f"<details><summary>JSON</summary><pre>{esc(text)}</pre></details></div>"
    )


def said(text: str) -> str:
    """An answer in words."""
    return f'<div class="call said"><span>Answer in words</span><p>{esc(text)}</p></div>'


def reply_cards(reply: Any, raw: str) -> str:
    """A parsed `Reply` of the text `raw`: its words, its calls, and what could not be read and where."""
    parts = [said(reply.text.strip())] if reply.text.strip() else []
    parts += [call_card(call) for call in reply.calls]
    parts += [broken(problem, raw) for problem in reply.diagnostics]
    return "".join(parts) or note("The model ended at once, without a call and without words.")


AROUND = 48  # characters shown on each side of the place where a reply broke


def broken(problem: Any, raw: str) -> str:
    """A `Diagnostic` of the reply `raw`: what is wrong, the place with the text around it, what was expected there."""
    place = max(0, min(problem.position, len(raw)))
    before, after = raw[max(0, place - AROUND) : place], raw[place : place + AROUND]
    cut = "…" if place > AROUND else ""
    here = f"<mark>{esc(after[0])}</mark>{esc(after[1:])}" if after else "<mark>end of the reply</mark>"
    more = "…" if place + AROUND < len(raw) else ""
    expected = f"<p>Expected here: {esc(problem.expected)}</p>" if problem.expected else ""
    what = problem.message or f"{problem.code} ({problem.detail})".replace("_", " ")
    return (
        f'<div class="broken"><strong>Could not be read, at character {place + 1:,}</strong><p>{esc(what)}</p>'
        f"<pre>{cut}{esc(before)}{here}{more}</pre>{expected}</div>"
    )


# -- tokens


def token_text(pieces: Iterable[tuple[str, bool, bool]]) -> str:
    """Tokens as (text, is a control token, is learned): context grey, learned green and underlined, control tokens outlined."""
    spans = []
    for text, control, learned in pieces:
        kind = ("ctl " if control else "") + ("learned" if learned else "context")
        shown = esc(text).replace("\n", '<span class="nl" aria-hidden="true">↵</span>\n')
        spans.append(f'<span class="tok {kind}">{shown}</span>')
    return f'<div class="tokens" tabindex="0" role="region" aria-label="The prompt as tokens"><div>{"".join(spans)}</div></div>'


def legend(word: str = "learned", meaning: str = "what the model is trained to write") -> str:
    """What the colours of `token_text` mean."""
    return (
        '<p class="legend"><span class="tok context">context</span> is read, '
        f'<span class="tok learned">{esc(word)}</span> is {esc(meaning)}, '
        '<span class="tok ctl context">&lt;control&gt;</span> is one token of the wire format</p>'
    )


# -- problems and tools


def issue_list(issues: Sequence[Any], limit: int = 20) -> str:
    """`Issue`s with row and field, the ones that must be fixed first; what is the same in several rows is said once."""
    rows: dict[Any, list[int]] = {}
    for issue in sorted(issues, key=lambda issue: issue.severity != "error"):
        at = rows.setdefault((issue.severity == "error", issue.field or "", issue.message, issue.fix), [])
        at += [] if issue.row is None else [issue.row]
    items = []
    for (must, field, message, fix), numbers in list(rows.items())[:limit]:
        where = " ".join(part for part in (_rows(numbers), field) if part)
        mend = f'. <span class="fix">{esc(fix)}</span>' if fix else ""
        items.append(
            f'<li class="{"must" if must else "look"}"><em>{"Must fix" if must else "Worth a look"}</em> '
            f"{f'<b>{esc(where)}</b> ' if where else ''}{esc(message)}{mend}</li>"
        )
    more = f"<li>and {len(rows) - limit:,} more</li>" if len(rows) > limit else ""
    return f'<ul class="issues">{"".join(items)}{more}</ul>' if items else ""


def _rows(numbers: Sequence[int]) -> str:
    """`Row 2`, `Rows 2, 3, 4`, `Rows 2, 3, 4 and 9 more`."""
    if len(numbers) < 2:
        return "".join(f"Row {number}" for number in numbers)
    return f"Rows {', '.join(map(str, numbers[:3]))}" + (f" and {len(numbers) - 3:,} more" if len(numbers) > 3 else "")


def parameter_type(schema: Any) -> str:
    """A parameter's type as people say it: `red | green`, `list of integer`, `string`."""
    if not isinstance(schema, Mapping):
        return "any"
    if isinstance(schema.get("enum"), list):
        return " | ".join(str(value) for value in schema["enum"])
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(str(k) for k in kind)
    if str(kind).lower() == "array":
        return f"list of {parameter_type(schema.get('items', {}))}"
    return str(kind).lower()


def parameter_table(tool: Any) -> str:
    """A `ToolSpec`'s parameters with their types."""
    properties = tool.parameters.get("properties", {}) if isinstance(tool.parameters, Mapping) else {}
    required = tool.parameters.get("required", []) if isinstance(tool.parameters, Mapping) else []
    rows = "".join(
        f"<tr><td><code>{esc(name)}</code>{'' if name in required else ' <small>optional</small>'}</td>"
        f"<td>{esc(parameter_type(schema))}</td></tr>"
        for name, schema in properties.items()
    )
    return f"<table>{rows}</table>" if rows else '<p class="quiet">No parameters.</p>'


def tool_card(tool: Any, examples: int, tokens: int | None, issues: Sequence[Any]) -> str:
    """A `ToolSpec` with its parameters, what its declaration costs, how many examples call it and its problems."""
    table = parameter_table(tool)
    cost = f" · {count(tokens, 'token')}" if tokens is not None else ""
    return (
        f'<article class="tool"><header><code>{esc(tool.name)}</code>'
        f'<button type="button" class="link" data-pick="{esc(tool.name)}" aria-label="Edit {esc(tool.name)}">Edit</button></header>'
        f"<p>{esc(tool.description) or '<span class=quiet>No description.</span>'}</p>{table}"
        f'<p class="quiet">{count(examples, "example")}{cost}</p>{issue_list(issues, 3)}</article>'
    )


def bars(counts: Mapping[str, int]) -> str:
    """How many of each, as bars with their numbers."""
    most = max(counts.values(), default=0) or 1
    rows = "".join(
        f'<div class="bar"><span>{esc(name)}</span><span class="track"><span style="width:{100 * number / most:.0f}%"></span></span>'
        f"<span>{number:,}</span></div>"
        for name, number in counts.items()
    )
    return f'<div class="bars">{rows}</div>'
