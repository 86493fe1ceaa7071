"""The chat template that ships with the base renders the same text as render_prompt, through transformers and in a plain sandbox."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline import functiongemma as fg
from pipeline.errors import PipelineError
from tests.format_cases import cases


@pytest.fixture(scope="module")
def source(root) -> str:
    return (root / "pipeline/base/checkpoint/chat_template.jinja").read_text("utf-8")


@pytest.fixture(scope="module")
def tokenizer(source):
    """The least tokenizer that transformers renders a template with."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>")), bos_token=fg.BOS)
    made.chat_template = source
    return made


@pytest.fixture(scope="module")
def template(source):
    """The template in the sandbox that transformers sets up: https://huggingface.co/docs/transformers/chat_templating_writing"""

    def raise_exception(message):
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(source)


@pytest.mark.parametrize("case", cases("prompt_cases.json"))
def test_shared_case_through_transformers(case, tokenizer):
    def applied():
        return tokenizer.apply_chat_template(
            case["messages"], tools=case["tools"], add_generation_prompt=case["add_generation_prompt"], tokenize=False
        )

    if case.get("expected_error"):
        with pytest.raises(TemplateError):
            applied()
    else:
        assert applied() == case["expected_text"]


KEYS = st.sampled_from(["a", "B", "b", "type", "description", "required", "properties", "items", "enum", "nullable", "name", "title"])
TYPES = st.sampled_from(["string", "object", "array", "integer", "OBJECT", None, ["string", "null"], 5])
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.sampled_from(["", " x ", "<escape>"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)
TEXTS = st.sampled_from(["", "x", " x\n"])


def mostly(usual, odd=ODD):
    """Nine times out of ten what belongs there, else anything."""
    return st.integers(0, 9).flatmap(lambda n: odd if n == 0 else usual)


SCHEMAS = st.deferred(
    lambda: st.fixed_dictionaries(
        {},
        optional={
            "type": mostly(TYPES),
            "description": mostly(TEXTS),
            "enum": mostly(st.lists(TEXTS, max_size=2)),
            "properties": mostly(st.dictionaries(KEYS, mostly(SCHEMAS), max_size=2)),
            "required": mostly(st.lists(KEYS, max_size=2)),
            "items": mostly(SCHEMAS),
            "title": ODD,
        },
    )
)
FUNCTIONS = st.fixed_dictionaries({}, optional={"name": mostly(KEYS), "description": mostly(TEXTS), "parameters": mostly(SCHEMAS)})
TOOLS = st.none() | st.lists(mostly(st.fixed_dictionaries({"function": mostly(FUNCTIONS)})), max_size=2)
PARTS = st.fixed_dictionaries({}, optional={"type": st.sampled_from(["text", "image"]), "text": mostly(TEXTS)})
CONTENTS = mostly(TEXTS | st.none() | st.lists(mostly(PARTS), max_size=2))
CALLS = st.fixed_dictionaries(
    {"function": mostly(st.fixed_dictionaries({}, optional={"name": mostly(KEYS), "arguments": mostly(st.dictionaries(KEYS, ODD, max_size=3))}))}
)
RESULTS = mostly(TEXTS | st.dictionaries(KEYS, ODD, max_size=2) | st.fixed_dictionaries({"name": KEYS, "response": mostly(st.dictionaries(KEYS, ODD))}))
MESSAGES = st.fixed_dictionaries(
    {"role": mostly(st.sampled_from(["user", "assistant", "developer", "system", "model"]))},
    optional={"content": CONTENTS, "tool_calls": mostly(st.lists(mostly(CALLS), max_size=2))},
) | st.fixed_dictionaries({"role": st.just("tool")}, optional={"content": RESULTS | st.lists(RESULTS, max_size=2), "name": mostly(KEYS)})


@settings(max_examples=150, deadline=None)
@given(messages=st.lists(MESSAGES, min_size=1, max_size=4), tools=TOOLS, generation=st.booleans())
def test_the_template_and_render_prompt_agree_on_odd_input(template, messages, tools, generation):
    """Both write the same text, or both refuse."""
    try:
        expected = fg.render_prompt(messages, tools, generation)
    except PipelineError:
        expected = None
    try:
        found = template.render(messages=messages, tools=tools, add_generation_prompt=generation, bos_token=fg.BOS)
    except (TemplateError, TypeError, AttributeError):  # the last two come from filters on values that they cannot take
        found = None
    assert found == expected


def test_the_template_keeps_to_what_other_engines_know(source):
    """LiteRT-LM renders with minijinja: no methods on values, no slices with steps, no filters beyond these."""
    code = "".join(piece.partition("#}")[2] for piece in ("#}" + source).split("{#"))
    for word in (".items()", ".strip(", ".split(", ".startswith(", ".upper(", ".get(", "| tojson", "| format", "strftime_now", "%}\n{{ '\\n"):
        assert word not in code, word
