"""The compatibility card of a file depends on the file, and every statement of it says where it is from."""

from __future__ import annotations

import re

import pytest

from pipeline.export import FORMATS, Artifact, compatibility, usage
from pipeline.export.compatibility import (
    MEASURED,
    NOT,
    OPEN,
    OURS,
    RUNS,
    SET,
    as_markdown,
    as_text,
    checked_with,
    places,
)

LITERT = {
    "cache_length": 1536, "prefill_length": 256, "longest_prompt": 700, "stop_tokens": ["<end_of_turn>", "<start_function_response>"],
}  # fmt: skip


def made(format: str, **details) -> Artifact:
    return Artifact(format, f"/somewhere/app.{format}", 1, "ab", True, 19, 20, 9.0, details)


def said(artifact: Artifact, kind: str | None = None) -> str:
    return "\n".join(one.text for place in places(artifact) for one in place.statements if kind in (None, one.kind))


@pytest.mark.parametrize("format", FORMATS)
def test_every_statement_has_a_kind_and_a_source(format):
    found = [one for place in places(made(format)) for one in place.statements]
    assert {one.kind for one in found} <= {RUNS, SET, NOT, OPEN}
    for one in found:
        assert one.source in (MEASURED, OURS) or re.fullmatch(r"https://[^\s)]+", one.source), one
        assert one.text.endswith(".") and "{" not in one.text.replace("`{", ""), one
    assert "/somewhere" not in as_text(made(format))


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_measured_is_the_files_own_check(format):
    text = said(made(format, checked_with="Runtime 1.2 on Linux"), RUNS)
    assert "Runtime 1.2 on Linux, CPU: 19 of 20 held-out requests were answered as the model answers them." in text
    assert re.fullmatch(r"\w[\w-]* \d[\w.]* on (Linux|macOS|Windows)", checked_with(format))


@pytest.mark.parametrize("format", ["litertlm", "task", "tflite"])
def test_lengths_and_stops_are_those_of_the_file(format):
    text = said(made(format, **LITERT), SET)
    assert "1536" in text and "1024" not in text.replace("less than 1024 is raised to 1024", "")
    if format != "tflite":
        assert "`<end_of_turn>`, `<start_function_response>`" in text and "cuts parallel calls" in text


def test_an_npu_would_lose_what_does_not_fit_into_one_piece():
    assert "here prompts have up to 700" in said(made("litertlm", **LITERT), NOT)
    assert "prompts have up to" not in said(made("litertlm"), NOT)


def test_a_task_is_for_one_of_two_apis():
    plain, wrapped = made("task", **LITERT), made("task", wrap_turns=True, **LITERT)
    assert "this file adds nothing" in said(plain, RUNS) and "Send the whole prompt" in said(plain, SET)
    assert "see them twice" in said(wrapped, NOT) and "in the user's turn" in said(wrapped, SET)
    assert "this file adds nothing" not in said(wrapped)
    assert "LlmInference" in usage.snippet(wrapped) and "FlutterEdgeAi" in usage.snippet(plain)


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (None, OPEN, "llama.cpp itself was not installed where this file was made"),
        ({"with": "llama.cpp b1", "problem": "/somewhere failed"}, OPEN, "llama.cpp b1 could not be asked"),
        ({"with": "llama.cpp b1", "identical": 20, "total": 20}, RUNS, "llama.cpp b1: 20 of 20 of the same requests."),
    ],
)
def test_a_gguf_says_whether_llama_cpp_has_run_it(found, kind, words):
    artifact = made("gguf", prompts_equal=9, prompts_total=10, **({"llama_cpp": found} if found else {}))
    assert words in said(artifact, kind) and "/somewhere" not in said(artifact)
    assert "writes 9 of 10 of the dataset's prompts exactly as in training" in said(artifact, RUNS)


def test_an_adapter_names_its_base():
    text = said(made("adapter", base_model_name_or_path="google/functiongemma-270m-it", revision="4" * 40), SET)
    assert f"`google/functiongemma-270m-it` at revision `{'4' * 40}`" in text
    assert "the embedded demonstration model" in said(made("adapter", base_model_name_or_path="embedded", revision=None), SET)
    code = usage.snippet(made("adapter", base_model_name_or_path="embedded", revision=None))
    assert '"pipeline/base/checkpoint", "revision": "main"' in code
    compile(code, "snippet", "exec")


@pytest.mark.parametrize("format", FORMATS)
def test_the_three_ways_to_write_it_say_the_same(format):
    one = made(format, **LITERT)
    for place in places(one):
        for statement in place.statements:
            assert f"  {statement.kind}: {statement.text} [{statement.source}]" in as_text(one)
            assert f"- *{statement.kind}*: {statement.text} (" in as_markdown(one)


def test_no_snippet_leaves_a_name_open():
    for format in FORMATS:
        code = usage.snippet(made(format, **LITERT))
        assert f"app.{format}" in code and not re.search(r"\{(file|cache|base|revision)\}", code)
        assert usage.language(made(format)) == usage.SNIPPETS[format][0]


def test_a_page_is_named_once():
    pages = [value for name, value in vars(compatibility).items() if name.isupper() and isinstance(value, str) and "://" in value]
    assert len(pages) == len(set(pages)) > 20
