"""The four public functions: what they answer, what they refuse and in which words, over HTTP with gradio's own client and as MCP tools."""

from __future__ import annotations

import asyncio
import functools
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
import pytest

from pipeline import functiongemma
from pipeline.errors import PipelineError
from pipeline.model import EMBEDDED
from pipeline.ui import api, visit

PING = {"name": "ping", "description": "Say hello.", "parameters": {"type": "object", "properties": {}}}
CALL = "<start_function_call>call:ping{}<end_function_call><start_function_response>"
DEEP = functools.reduce(lambda inner, _: [inner], range(200), "x")
SPECS = [{"type": "function", "function": PING}]


def test_parse_says_what_the_parser_says():
    found = api.parse(CALL + " and more", SPECS)
    assert found["calls"] == [{
        "name": "ping", "arguments": {}, "status": "ok", "diagnostics": (), "raw": CALL.removesuffix("<start_function_response>"),
    }]  # fmt: skip
    assert [problem["code"] for problem in found["diagnostics"]] == ["content_after_response_token"]
    assert api.parse("Hello.<end_of_turn>")["text"] == "Hello."


def test_render_prompt_is_the_pipelines():
    messages = [{"role": "user", "content": "hi"}]
    assert api.render_prompt(messages, SPECS, True) == functiongemma.render_prompt(messages, SPECS, True)
    assert api.render_prompt(messages) == functiongemma.render_prompt(messages)


def test_lint_tools_names_the_function_the_field_and_the_way_out():
    assert api.lint_tools([PING]) == []
    (missing,) = api.lint_tools([{**PING, "description": ""}])
    assert (missing["row"], missing["field"], missing["severity"]) == (1, "ping", "warning") and missing["fix"]
    assert api.lint_tools([{"description": "no name"}])[0]["severity"] == "error"


def test_call_asks_the_embedded_model():
    answer = api.call("say hello", [PING])
    assert answer["model"] == "embedded" and answer["revision"] is None and answer["raw"].endswith(functiongemma.STOP_TOKENS)
    assert answer["tokens"] > 0 and set(answer) == {"model", "revision", "raw", "text", "calls", "diagnostics", "tokens", "seconds"}


@pytest.mark.slow
def test_call_asks_a_public_model_with_its_own_functions_and_says_which_commit(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(visit, "cache", lambda: tmp_path / "cache")
    folder = shutil.copytree(EMBEDDED, tmp_path / "lamp")
    (folder / "tools.json").write_text(json.dumps(SPECS))
    repo = hub.repo("alice/lamp", folder)
    hub.repo("alice/diary", folder, private=True)
    answer = api.call("say hello", model="alice/lamp")
    assert (answer["model"], answer["revision"]) == ("alice/lamp", repo.sha) and answer["tokens"] > 0
    with pytest.raises(PipelineError, match="alice/diary"):
        api.call("say hello", model="alice/diary")
    assert not any("Authorization" in request.headers for request in hub.log)


REFUSED = [
    (api.parse, [3], "text: expected text, found int"),
    (api.parse, ["x" * 20_001], "text: at most 20,000 characters are read, found 20,001"),
    (api.parse, ["x", "tools"], "tools: expected a list of JSON objects such as .* found str"),
    (api.parse, ["x", [7]], "found a list that holds int"),
    (api.parse, ["x", [PING] * 300], "at most 256 tools are read, found 300"),
    (api.render_prompt, [None], "messages: expected a list of JSON objects such as"),
    (api.render_prompt, [[{"role": "user", "content": "x" * 200_000}]], "messages: at most 200,000 characters of JSON"),
    (api.render_prompt, [[{"role": "user", "content": DEEP}]], "messages: not usable: nested deeper"),
    (api.render_prompt, [[{"role": "user", "content": float("nan")}]], "nan is not a number that JSON can hold"),
    (api.lint_tools, [{"name": "x"}], "tools: expected a list"),
    (api.call, ["", [PING]], "request: expected what a person would say"),
    (api.call, ["x" * 2_001, [PING]], "request: at most 2,000 characters"),
    (api.call, ["hi", []], "tools"),
    (api.call, ["hi"], "comes with no functions of its own"),
    (api.call, ["hi", [{**PING, "name": "two words"}]], "The tools cannot be used: .*two words"),
    (api.call, ["hi", [PING], "../../etc/passwd"], "not a repository of the Hub"),
    (api.call, ["hi", [PING], "x" * 300], "model: at most 200 characters"),
]


@pytest.mark.parametrize("function, values, words", REFUSED, ids=[f"{case[0].__name__}-{number}" for number, case in enumerate(REFUSED)])
def test_what_is_not_taken_is_said_in_a_sentence(function, values, words):
    with pytest.raises(PipelineError, match=words):
        function(*values)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The four alone, served: what else the app has is looked at in test_security.py."""
    with gr.Blocks(analytics_enabled=False) as demo:
        api.build()
    _, address, _ = demo.queue().launch(
        prevent_thread_lock=True, quiet=True, mcp_server=True, show_error=False, run_history=False, _frontend=False, ssr_mode=False
    )
    yield address.rstrip("/")
    demo.close()


def test_over_http_with_gradios_client(url):
    from gradio_client import Client

    client = Client(url, verbose=False, analytics_enabled=False)
    assert client.predict(CALL, api_name="/parse")["calls"][0]["name"] == "ping"
    assert client.predict([{"role": "user", "content": "hi"}], api_name="/render_prompt").startswith("<bos><start_of_turn>user\nhi")
    with pytest.raises(Exception, match="text: expected text, found int"):
        client.predict(3, api_name="/parse")


def test_as_mcp_tools(url):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def talk():
        async with streamable_http_client(f"{url}/gradio_api/mcp/") as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            parsed = await session.call_tool("parse", {"text": CALL})
            refused = await session.call_tool("lint_tools", {"tools": "none"})
            return tools, parsed, refused

    with ThreadPoolExecutor(1) as apart:  # after a browser test Playwright's loop runs in the first thread
        tools, parsed, refused = apart.submit(lambda: asyncio.run(talk())).result()
    assert [tool.name for tool in tools] == ["parse", "render_prompt", "lint_tools", "call"]
    for tool in tools:
        assert len(tool.description) > 80 and "Returns:" in tool.description
        assert all(len(field.get("description", "")) > 20 for field in tool.inputSchema["properties"].values()), tool.name
        assert "caller" not in tool.inputSchema["properties"]
    assert json.loads(parsed.content[0].text)["calls"][0]["name"] == "ping"
    assert refused.isError and "Traceback" not in refused.content[0].text
