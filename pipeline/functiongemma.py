"""FunctionGemma's wire format: messages and tools to the prompt that the model saw in training, replies back to calls.

`render_prompt` writes, byte for byte, what google/functiongemma-270m-it's chat template writes, its peculiarities included (numbers in
brackets are those of ../shared/format/FORMAT.md, section 5): whoever trains or asks this model must send exactly that text.
`base/checkpoint/chat_template.jinja` is the same in Jinja. The way back, `parse` and `StreamParser`, lives in functiongemma_parser.py.

Knows nothing of token ids, of schemas beyond their rendering, or of what a tool does. What the template loses is said by
`tools.lint_tools`; here it is only reproduced.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.errors import PipelineError
from pipeline.functiongemma_parser import Call, Diagnostic, Reply, StreamParser, parse
from pipeline.tools import CONTROL_TOKENS, TRIGGER, control_tokens_in

__all__ = [
    "CONTROL_TOKENS", "STOP_TOKENS", "TRIGGER", "Call", "Diagnostic", "Reply", "StreamParser", "call_text", "control_tokens_in", "parse",
    "render_example", "render_prompt", "spelled_tokens",
]  # fmt: skip

BOS, EOS = "<bos>", "<eos>"
START_OF_TURN, END_OF_TURN = "<start_of_turn>", "<end_of_turn>"
START_DECLARATION, END_DECLARATION = "<start_function_declaration>", "<end_function_declaration>"
START_CALL, END_CALL = "<start_function_call>", "<end_function_call>"
START_RESPONSE, END_RESPONSE = "<start_function_response>", "<end_function_response>"
ESCAPE = "<escape>"
START_OF_IMAGE = "<start_of_image>"
# Generation ends at any of these (ids 1, 106, 50; model_facts.json).
STOP_TOKENS = (EOS, END_OF_TURN, START_RESPONSE)

# Keys of a schema that its list of properties is cleared of, whether or not they are properties [4].
_SCHEMA_KEYS = frozenset({"description", "type", "properties", "required", "nullable"})
_JSON_TEXT_INDENT = " " * 20  # the template's own indentation, which it writes before arguments given as text [9]


def render_prompt(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None = None, add_generation_prompt: bool = False) -> str:
    """The text that the model is given for a conversation, "<bos>" included.

    `messages` are OpenAI/TRL-shaped (roles developer, system, user, assistant, tool); `tools` are OpenAI-shaped dicts or ToolSpecs.
    Nothing is escaped: control tokens spelled in the content stay as they are [12].
    Raises PipelineError where the template refuses, with the message or tool and the reason.
    """
    try:
        return "".join(_prompt(messages, tools, add_generation_prompt))
    except RecursionError:
        raise PipelineError("The tools or messages nest too deeply for a prompt; flatten the schema or the arguments.") from None


def spelled_tokens(request: str) -> str | None:
    """What to tell whoever wrote a request that spells control tokens, None where it spells none."""
    found = control_tokens_in(request)
    if not found:
        return None
    return f"The request spells {', '.join(found)}: the model reads that as a control token, not as text, and may answer oddly."


def render_example(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None = None) -> tuple[str, str]:
    """(prompt, completion) of a conversation that ends with the assistant message to be learned.

    The prompt ends where generation starts; the completion ends with the stop token that the model must emit:
    "<start_function_response>" after calls, "<end_of_turn>" after text. Joined they are `render_prompt(messages, tools)` without
    the newline that the template writes behind the last turn.
    Raises PipelineError if the last message is not the assistant's, or if no prompt leads to it.
    """
    _check_list(messages)
    if not messages or _item(messages[-1], "role") not in ("assistant", "model"):
        raise PipelineError("The last message of an example must be the assistant's, the one to be learned; add it or drop the row.")
    if len(messages) == 1:
        raise PipelineError("Expected a request before the assistant's message, found none; add the user's message.")
    prompt = render_prompt(messages[:-1], tools, add_generation_prompt=True)
    whole = render_prompt(messages, tools).removesuffix("\n")
    if not whole.startswith(prompt) or not whole.endswith(STOP_TOKENS):
        raise PipelineError(
            "The assistant's last message cannot follow the message before it, because the template leaves no place for generation there; "
            "put a tool result or a user message before it."
        )
    return prompt, whole[len(prompt) :]


def call_text(calls: Iterable[Any]) -> str:
    """Calls (ToolCall, Call, {"name", "arguments"} or OpenAI tool_calls) as the template writes them, without a stop token.

    `parse` gives them back unchanged, keys in the template's order, if the arguments are JSON values, the strings hold no "<escape>", the
    keys are plain words and nothing nests deeper than 64. NaN and the infinities are written as Python does and come back as text.
    """
    return "".join(_call(call, "call") for call in calls)


class _Undefined:
    """What a template gets for a key that is not there: no text, false, and no error until somebody looks inside."""

    def __str__(self) -> str:
        return ""

    def __bool__(self) -> bool:
        return False


_UNDEFINED = _Undefined()


def _item(value: Any, key: str) -> Any:
    """`value[key]` as a template reads it."""
    return value.get(key, _UNDEFINED) if isinstance(value, Mapping) else _UNDEFINED


def _each(value: Any, where: str) -> Iterator[Any]:
    """The items of a template's `for`: a list's values, a mapping's keys, a text's characters, nothing for an absent key."""
    if value is _UNDEFINED:
        return iter(())
    if not isinstance(value, Iterable):
        raise PipelineError(f"{where}: expected a list, found {_kind(value)}.")
    return iter(value)


def _sorted(value: Any, where: str) -> list[tuple[Any, Any]]:
    """The pairs of a mapping in the template's order: by key, case-insensitively, equal ones as given."""
    if not isinstance(value, Mapping):
        raise PipelineError(f"{where}: expected an object, found {_kind(value)}.")
    try:
        return sorted(value.items(), key=lambda pair: pair[0].lower() if isinstance(pair[0], str) else pair[0])
    except TypeError:
        raise PipelineError(f"{where}: expected keys that are text, found a mixture that has no order.") from None


def _kind(value: Any) -> str:
    """What a value is, in JSON's words."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return "nothing" if value is None or value is _UNDEFINED else names.get(type(value), type(value).__name__)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _upper(value: Any) -> str:
    return str(value).upper()  # a list of types becomes Python's text of it, in capitals [7]


def _escaped(value: Any) -> str:
    return f"{ESCAPE}{value}{ESCAPE}"


def _value(value: Any, where: str, escape_keys: bool = False) -> str:
    """A value of a call, a response, or (with `escape_keys`) of a schema's keyword."""
    if isinstance(value, str):
        return _escaped(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        pairs = ((_escaped(key) if escape_keys else key, inner) for key, inner in _sorted(value, where))
        return "{" + ",".join(f"{key}:{_value(inner, where, escape_keys)}" for key, inner in pairs) + "}"
    if _is_list(value):
        return "[" + ",".join(_value(inner, where, escape_keys) for inner in value) + "]"
    return str(value)  # Python's own text of a number, and "None" [13]


# -- declarations


def _declaration(tool: Any, where: str) -> str:
    """One tool. Without a type of its parameters their brace stays open [8]."""
    tool = tool.to_json() if hasattr(tool, "to_json") else tool
    function = _item(tool, "function")
    if function is _UNDEFINED:
        raise PipelineError(f'{where}: expected {{"type": "function", "function": {{...}}}}, found no "function"; wrap the tool in it.')
    where = f"{where} ({_item(function, 'name')})"
    text = f"declaration:{_item(function, 'name')}{{description:{_escaped(_item(function, 'description'))}"
    parameters = _item(function, "parameters")
    if parameters:
        text += ",parameters:{"
        if properties := _item(parameters, "properties"):
            text += f"properties:{{{_properties(properties, where)}}},"
        if required := _item(parameters, "required"):
            text += _required(required, where) + ","
        if _item(parameters, "type"):
            text += f"type:{_escaped(_upper(_item(parameters, 'type')))}}}"
    return f"{START_DECLARATION}{text}}}{END_DECLARATION}"


def _required(names: Any, where: str) -> str:
    return "required:[" + ",".join(_escaped(name) for name in _each(names, f"{where}, required")) + "]"


def _properties(properties: Any, where: str) -> str:
    pairs = _sorted(properties, f"{where}, properties")
    return ",".join(_property(key, node, f"{where}.{key}") for key, node in pairs if key not in _SCHEMA_KEYS)


def _property(key: Any, node: Any, where: str) -> str:
    """One parameter: description, what its type adds, type; every other keyword is dropped [3]."""
    kind = _upper(_item(node, "type"))
    extra = ""
    if kind == "STRING" and _item(node, "enum"):
        extra = f",enum:{_value(node['enum'], where, escape_keys=True)}"
    elif kind == "OBJECT":
        inner = _item(node, "properties")
        extra = f",properties:{{{_properties(inner if isinstance(inner, Mapping) else node, where)}}}"  # its own keywords instead [5]
        if _item(node, "required"):
            extra += "," + _required(node["required"], where)
    elif kind == "ARRAY" and isinstance(_item(node, "items"), Mapping) and node["items"]:
        extra = ",items:{" + ",".join(_items(node["items"], f"{where}.items")) + "}"
    return f"{key}:{{description:{_escaped(_item(node, 'description'))}{extra},type:{_escaped(kind)}}}"


def _items(items: Mapping[str, Any], where: str) -> Iterator[str]:
    """The schema of an array's items: every keyword is written, those that have no rule of their own as plain values [6]."""
    for key, value in _sorted(items, where):
        if value is None:
            continue
        if key == "properties":
            yield f"properties:{{{_properties(value, where) if isinstance(value, Mapping) else ''}}}"
        elif key == "required":
            yield _required(value, where)
        elif key == "type":
            types = _upper(value) if isinstance(value, str) else [_upper(one) for one in _each(value, f"{where}, type")]
            yield f"type:{_value(types, where)}"
        else:
            yield f"{key}:{_value(value, where, escape_keys=True)}"


# -- messages


def _prompt(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None, add_generation_prompt: bool) -> Iterator[str]:
    if not messages:
        raise PipelineError("Expected at least one message, found none; start with the user's request.")
    _check_list(messages)
    yield BOS
    first = 0
    if tools or _item(messages[0], "role") in ("system", "developer"):
        yield f"{START_OF_TURN}developer\n"
        if _item(messages[0], "role") in ("system", "developer"):
            first = 1
            yield _content(_item(messages[0], "content"), "messages[0]", images=False)
        for i, tool in enumerate(tools or ()):
            yield _declaration(tool, f"tools[{i}]")
        yield f"{END_OF_TURN}\n"
    before = ""  # what the message before ended with: "content", "calls", "response", or "" where it had nothing
    for i in range(first, len(messages)):
        message, where = messages[i], f"messages[{i}]"
        if _item(message, "role") == "tool":
            yield from _responses(message, where)
            before = "response"  # even if nothing was written [11]
            continue
        if before != "response":  # a message after a response goes on in the model's turn, whoever speaks [10]
            yield f"{START_OF_TURN}{_role(message, where)}\n"
        before = ""
        if _item(message, "content") is not None and _item(message, "content") is not _UNDEFINED:
            yield _content(message["content"], where)
            before = "content"
        calls = _item(message, "tool_calls")
        if calls and isinstance(calls, Iterable):
            for number, call in enumerate(calls):
                yield _call(call, f"{where}.tool_calls[{number}]", wrapped=True)
            if i == len(messages) - 1:
                yield START_RESPONSE
            before = "calls"
        if before != "calls":
            yield f"{END_OF_TURN}\n"
    if add_generation_prompt and before != "response":
        yield f"{START_OF_TURN}model\n"


def _check_list(messages: Any) -> None:
    if not _is_list(messages):
        raise PipelineError(f"Expected a list of messages, found {_kind(messages)}; put the messages in a list.")


def _role(message: Any, where: str) -> str:
    role = _item(message, "role")
    if not isinstance(role, str):
        raise PipelineError(f'{where}: expected a "role" such as "user" or "assistant", found {_kind(role)}.')
    return "model" if role == "assistant" else role


def _content(content: Any, where: str, images: bool = True) -> str:
    """A message's text, trimmed; a list of parts is trimmed part by part and joined with nothing between."""
    if isinstance(content, str):
        return content.strip()
    if not isinstance(content, Iterable) and content is not _UNDEFINED:
        raise PipelineError(f"{where}: Invalid content type: expected text or a list of parts, found {_kind(content)}.")
    text = ""
    for part in _each(content, where):
        if _item(part, "type") == "text":
            text += str(_item(part, "text")).strip()
        elif _item(part, "type") == "image" and images:
            text += START_OF_IMAGE
    return text


def _call(call: Any, where: str, wrapped: bool = False) -> str:
    """One call; `wrapped` insists on OpenAI's {"function": ...} as the template does."""
    if hasattr(call, "name"):
        call = {"name": call.name, "arguments": call.arguments}
    function = _item(call, "function")
    if function is _UNDEFINED and not wrapped:
        function = call
    name = _item(function, "name")
    if not isinstance(name, str):
        raise PipelineError(f'{where}: expected {{"function": {{"name": ..., "arguments": ...}}}}, found {_kind(name)} for the name.')
    arguments = _item(function, "arguments")
    if isinstance(arguments, str):
        inner = _JSON_TEXT_INDENT + arguments
    elif isinstance(arguments, Mapping):
        inner = _pairs(arguments, where)
    else:
        inner = ""
    return f"{START_CALL}call:{name}{{{inner}}}{END_CALL}"


def _pairs(arguments: Mapping[str, Any], where: str) -> str:
    return ",".join(f"{key}:{_value(value, f'{where}, {key}')}" for key, value in _sorted(arguments, where))


def _responses(message: Mapping[str, Any], where: str) -> Iterator[str]:
    """The blocks of one tool message; nothing for empty content [11]."""
    content = _item(message, "content")
    if not content:
        return
    if isinstance(content, Mapping):
        yield _response(content, message, where)
    elif isinstance(content, str):
        if "name" not in message:
            raise PipelineError(f"{where}: Invalid tool response: 'name' must be provided; name the function that answered.")
        yield _response_text(message["name"], {"value": content}, where)
    elif _is_list(content):
        for item in content:
            if not isinstance(item, Mapping):
                raise PipelineError(f"{where}: Invalid tool response: multiple responses must all be mappings, found {_kind(item)}.")
            yield _response(item, message, where)
    else:
        raise PipelineError(f"{where}: Invalid content type: expected text, an object or a list of objects, found {_kind(content)}.")


def _response(content: Mapping[str, Any], message: Mapping[str, Any], where: str) -> str:
    """One result: {"name", "response"}, or anything else under the message's own name."""
    if "name" in content and "response" in content:
        return _response_text(content["name"], content["response"], where)
    if "name" not in message:
        raise PipelineError(
            f"{where}: Invalid tool response mapping: must contain 'name' and 'response' keys, or 'name' must be in the message; "
            "name the function that answered."
        )
    return _response_text(message["name"], content, where)


def _response_text(name: Any, response: Any, where: str) -> str:
    if not isinstance(response, Mapping):
        raise PipelineError(f"{where}: expected the response as an object, found {_kind(response)}.")
    return f"{START_RESPONSE}response:{str(name).strip()}{{{_pairs(response, where)}}}{END_RESPONSE}"
