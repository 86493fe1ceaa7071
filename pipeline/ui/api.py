"""The studio for programs: four pure functions over HTTP, and the same four as MCP tools. Everything else of the page is private.

A docstring here is what a stranger reads: gradio makes the API page and the MCP descriptions of it. None of the four knows a visitor, a
project or a file, none needs an account, and each says in a sentence what it will not take. What is asked with them is not kept.

    from gradio_client import Client
    Client("http://127.0.0.1:7860").predict("<start_function_call>call:ping{}<end_function_call>", api_name="/parse")
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import functiongemma, jsontext
from pipeline import tools as checks
from pipeline.errors import DataError
from pipeline.examples import DEFAULT, fresh
from pipeline.functiongemma import Reply
from pipeline.hub import public
from pipeline.model import find_base
from pipeline.ui import answers, visit
from pipeline.ui.answer_view import MAX_REQUEST
from pipeline.ui.widgets import count, door

EMBEDDED = "embedded"
MAX_TEXT = 20_000
"""Characters of a reply to read: a hundred times what a model of this size writes."""
MAX_JSON = 200_000
"""Characters of messages and tools as JSON, together about what the model's 32,768 tokens hold."""
LIKE = {
    "tools": ' such as {"name": "ping", "description": "Say hello.", "parameters": {"type": "object", "properties": {}}}',
    "messages": ' such as {"role": "user", "content": "turn on the light"}',
}


def parse(text: str, tools: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Read what a FunctionGemma model wrote: its function calls, its words, and everything that is broken, with the place where it broke.

    Parameters:
        text: The model's raw output, decoded with its control tokens, such as <start_function_call>call:ping{}<end_function_call>.
        tools: The functions that the model was given, as JSON Schema in OpenAI's shape. Calls of other names are marked unknown_tool.
    Returns:
        An object: text, calls (name, arguments, status ok or repaired, diagnostics) and diagnostics (code, message, position, raw).
    """
    _text(text, "text", MAX_TEXT)
    return _reply(functiongemma.parse(text, _objects(tools or [], "tools")))


def render_prompt(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None, add_generation_prompt: bool = False) -> str:
    """Write the exact prompt of google/functiongemma-270m-it's chat template for a conversation and the functions it may call.

    Parameters:
        messages: The conversation in OpenAI's shape; roles developer, system, user, assistant and tool.
        tools: The functions, each {"type": "function", "function": {"name", "description", "parameters"}}.
        add_generation_prompt: True to end where the model's answer begins.
    Returns:
        The prompt, <bos> included.
    """
    return functiongemma.render_prompt(_objects(messages, "messages"), _objects(tools or [], "tools"), add_generation_prompt is True)


def lint_tools(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say what FunctionGemma will not see of function descriptions, what it will get wrong, and how to mend it.

    Parameters:
        tools: Function descriptions as JSON Schema, in the shape of OpenAI, Google, Anthropic or MCP.
    Returns:
        A list of problems: row (which function, from 1), field, severity (error or warning), message, fix. Empty means there are none.
    """
    return [issue.to_json() for issue in _read(tools)[1]]


def call(request: str, tools: list[dict[str, Any]] | None = None, model: str = EMBEDDED) -> dict[str, Any]:
    """Ask a model which of the functions it calls for a request. Nothing is executed: you get the calls, to make them yourself.

    Parameters:
        request: What a person would say, such as: turn on the kitchen light.
        tools: The functions it may call, as JSON Schema, in any of the shapes of lint_tools. Left out: those that it came with.
        model: embedded, a small stand-in that ships with the studio, or a public FunctionGemma model of the Hugging Face Hub, user/name.
    Returns:
        An object: model, revision, raw (what it wrote), text, calls, diagnostics, tokens, seconds.
    """
    if not _text(request, "request", MAX_REQUEST).strip():
        raise DataError("request: expected what a person would say, found no text.")
    specs, issues = _read(tools) if tools is not None else ([], [])
    if refused := [issue for issue in issues if issue.severity == "error"]:
        raise DataError(checks.summary("The tools cannot be used", refused), refused)
    asked = _model(_text(model, "model", 200))
    specs = specs or list(asked.tools)
    if not specs:
        raise DataError("tools: this model comes with no functions of its own; send those that it may call.")
    answer = answers.answer(asked.source, fresh(request, asked.developer), specs, apart=asked.revision is not None)
    figures = {"tokens": answer.tokens, "seconds": round(answer.seconds, 3)}
    return {"model": asked.name, "revision": asked.revision, "raw": answer.text, **_reply(answer.reply), **figures}


def build() -> None:
    """Add the four to the app that is being built. `call` has a line of its own: it may have to fetch a model first."""
    for function in (parse, render_prompt, lint_tools):
        gr.api(entrance(function), concurrency_limit=4, concurrency_id="api")
    gr.api(entrance(call), concurrency_limit=1)


def entrance(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as gradio calls it: errors become sentences, and over MCP, where gradio would write Python, the answer is JSON text."""
    guarded = door(function, words=str)

    @functools.wraps(function)
    def opened(*values: Any) -> Any:
        *given, caller = values
        answer = guarded(*given)
        by_mcp = caller is not None and caller.headers.get("x-gradio-user") == "mcp"
        return json.dumps(answer, ensure_ascii=False) if by_mcp and not isinstance(answer, str) else answer

    plain = inspect.signature(function, eval_str=True)
    last = inspect.Parameter("caller", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request | None, default=None)
    opened.__signature__ = plain.replace(parameters=[*plain.parameters.values(), last])
    opened.__annotations__ = {**inspect.get_annotations(function, eval_str=True), "caller": gr.Request | None}
    return opened


# -- what comes in, what goes out


def _text(value: Any, name: str, most: int) -> str:
    if not isinstance(value, str):
        raise DataError(f"{name}: expected text, found {type(value).__name__}.")
    if len(value) > most:
        raise DataError(f"{name}: at most {most:,} characters are read, found {len(value):,}. Send less.")
    return value


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    """`value` if it is a list of JSON objects of a size that one answer may take."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        found = f"a list that holds {type(value[0]).__name__}" if isinstance(value, list) else type(value).__name__
        raise DataError(f"{name}: expected a list of JSON objects{LIKE[name]}, found {found}.")
    try:
        size = len(jsontext.dumps(value, max_depth=jsontext.ROW_DEPTH))
    except jsontext.JsonTextError as error:
        raise DataError(f"{name}: not usable: {error}.") from None
    if size > MAX_JSON:
        raise DataError(f"{name}: at most {MAX_JSON:,} characters of JSON are read, found {size:,}. Send less.")
    if name == "tools" and len(value) > checks.MAX_TOOLS:
        raise DataError(f"tools: at most {count(checks.MAX_TOOLS, 'tool')} are read, found {len(value):,}. Send those that are needed.")
    return value


@dataclass(frozen=True)
class _Asked:
    """A model that anybody may ask: the embedded base, without a revision, or a public one at a commit."""

    name: str
    revision: str | None
    source: str | Path
    tools: tuple[checks.ToolSpec, ...] = ()
    developer: str = DEFAULT


def _model(name: str) -> _Asked:
    """The model of that name, fetched if need be. Raises PipelineError."""
    if name.strip() == EMBEDDED:
        return _Asked(EMBEDDED, None, find_base(EMBEDDED).path)
    found = public.fetch(public.name_in(name), visit.cache(), need_tools=False)
    return _Asked(found.repo, found.commit, found.source, found.tools, found.developer)


def _read(tools: Any) -> tuple[list[checks.ToolSpec], list[checks.Issue]]:
    """The tools that can be read, and every problem of theirs; of none, if one cannot be read."""
    try:
        specs = checks.tools_from_json(_objects(tools, "tools"))
    except DataError as error:
        if not error.issues:
            raise
        return [], list(error.issues)
    return specs, checks.lint_tools(specs)


def _reply(reply: Reply) -> dict[str, Any]:
    calls = [{key: value for key, value in asdict(call).items() if key != "position"} for call in reply.calls]
    return {"text": reply.text, "calls": calls, "diagnostics": [asdict(problem) for problem in reply.diagnostics]}
