"""The dataset: what is wrong with its rows, how they are split, how they are kept on disk.

What a row is stands in examples.py; everybody else imports its types from here. Knows nothing of the formats that rows came
from (importers.py), of tokens, or of training.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from pipeline import jsontext
from pipeline.errors import ConfigError, DataError
from pipeline.examples import DEFAULT, ROLES, SPLITS, Example, ToolDataset, example, normalised
from pipeline.files import complete, write_all
from pipeline.schema import shown
from pipeline.tools import Issue, ToolSpec, check_call, control_tokens_in, lint_tools, summary, tools_from_json

# fmt: off
__all__ = [
    "DEFAULT", "Example", "ToolDataset", "example", "normalised",  # of examples.py
    "deduplicate", "load", "save", "scarcity", "sha256", "split", "statistics", "validate",
]
# fmt: on

MAX_ROWS = 100_000
MAX_BYTES = 50 * 1024 * 1024  # of one file, imported or saved
LONG_REQUEST = 2_000  # characters; the model sees 2,048 tokens of prompt and reply in the stand-in, 32,768 in FunctionGemma
FEW_ROWS, FEW_CALLS = 50, 10
"""Fewer examples in all, or of one tool, are worth a word. OpenAI's guide sees improvements from 50 to 100 examples and accepts no fewer
than 10 (developers.openai.com/api/docs/guides/supervised-fine-tuning, of its own models); per tool is our reading of the second."""
TOOLS_FILE, EXAMPLES_FILE = "tools.json", "examples.jsonl"


def validate(dataset: ToolDataset) -> list[Issue]:
    """Every problem of the examples at once, rows counted from 1; what is wrong with the dataset's tools says lint_tools.

    An error would teach the model something that fails (an unknown tool, a missing argument, a control token); a warning is
    worth a look (a duplicate, two answers to one request, a test request that is also in train).
    """
    issues: list[Issue] = []
    if not dataset.examples:
        issues.append(Issue(None, "examples", "error", "there are no examples", "Import, write or generate some."))
    if len(dataset.examples) > MAX_ROWS:
        issues.append(Issue(None, "examples", "error", f"more than {MAX_ROWS} examples", "Leave some out."))
    linted = {_tools_key(dataset.tools)}
    for row, item in enumerate(dataset.examples, start=1):
        issues += [replace(issue, row=row) for issue in _row_issues(item, dataset.tools_of(item))]
        if item.tools is not None and _tools_key(item.tools) not in linted:
            linted.add(_tools_key(item.tools))
            issues += [replace(issue, row=row, field=f"tools.{issue.field}") for issue in lint_tools(item.tools)]
    issues += _between_rows(dataset)
    called = {name for item in dataset.examples for name in _call_names(item)}
    if called:
        issues += [
            Issue(None, tool.name, "warning", f"no example calls {tool.name}", "Add some, or take the tool out.")
            for tool in dataset.tools
            if tool.name not in called
        ]
    untriggered = sum(1 for item in dataset.examples if DEFAULT not in _developer_text(item))
    if untriggered:
        message = f"{untriggered} rows lack the developer sentence that FunctionGemma was trained with ({DEFAULT!r})"
        issues.append(Issue(None, "messages", "warning", message, "Put the sentence at the end of the developer message."))
    return issues


def scarcity(dataset: ToolDataset) -> list[Issue]:
    """What there is too little of to learn from, as warnings; what there is none of says `validate`."""
    rows, calls = len(dataset.examples), Counter(name for item in dataset.examples for name in set(_call_names(item)))
    issues = []
    if 0 < rows < FEW_ROWS:
        said = f"{rows} example{'' if rows == 1 else 's'}: the model may know these by heart and other words not, and its score says little"
        issues.append(Issue(None, "", "warning", said, f"Write {FEW_ROWS} or more, in as many different words as people use."))
    few = [tool.name for tool in dataset.tools if 0 < calls[tool.name] < FEW_CALLS]
    if few:
        names = ", ".join(few[:3]) + (f" and {len(few) - 3} more" if len(few) > 3 else "")
        said = f"fewer than {FEW_CALLS} examples for {names}: the model may miss what they are for"
        issues.append(Issue(None, "", "warning", said, f"Write {FEW_CALLS} or more for each tool."))
    return issues


def _row_issues(item: Example, tools: tuple[ToolSpec, ...]) -> Iterator[Issue]:
    """What is wrong with one example taken alone; the rows of the issues are None."""

    def error(field: str, message: str, fix: str) -> Issue:
        return Issue(None, field, "error", message, fix)

    for index, message in enumerate(item.messages):
        role = message.get("role")
        if role not in ROLES:
            yield error(f"messages[{index}].role", f"expected one of {', '.join(ROLES)}, found {role!r}", "Correct the role.")
        if role != "tool" and not isinstance(message.get("content"), str | None):
            found = f"expected text, found {shown(message['content'])}"
            yield error(f"messages[{index}].content", found, "Write it as one text; `import` joins text given in parts.")
        if role == "user" and index and item.messages[index - 1].get("role") == "tool":  # FORMAT.md, section 5, 10
            lost = "a user message straight after a tool's result loses its header"
            yield Issue(None, f"messages[{index}]", "warning", lost, "Put the assistant's answer between them.")
        if role == "tool" and (problem := _result_problem(message)):
            yield error(f"messages[{index}].content", problem, 'Give text or an object, and the tool\'s "name" beside it.')
        if found := control_tokens_in("\n".join(_texts(message.get("content")))):
            yield error(f"messages[{index}].content", f"the text holds the control token {found[0]}", "Take it out.")
    if not item.completion:
        yield error("messages", "there is no assistant message to learn", "Add the reply: calls, or a sentence.")
    elif item.messages[-1] is not item.completion:
        yield error("messages", "messages follow the last assistant message", "Remove what comes after it.")
    if item.completion and item.prompt and item.prompt[-1].get("role") not in ("user", "tool"):
        before = f"the reply follows a message of the {item.prompt[-1].get('role')}, where the model does not answer"
        yield error("messages", before, "Put the user's request, or a tool's result, before the reply.")
    if not item.request.strip():
        yield error("request", "the request is empty", "Write what the user says.")
    elif len(item.request) > LONG_REQUEST:
        yield Issue(None, "request", "warning", f"the request has {len(item.request)} characters", "Shorten it.")
    if item.split not in (None, *SPLITS):
        yield error("split", f"expected train or test, found {item.split!r}", "Correct the split, or leave it out.")
    try:
        calls = item.calls
    except DataError as problem:
        yield error("tool_calls", str(problem).rstrip("."), 'Write {"function": {"name": ..., "arguments": {...}}}.')
        return
    if item.completion and not calls and not item.reply_text.strip():
        yield error("reply", "the reply is empty", 'Give calls, or a sentence such as "I can\'t help with that.".')
    if calls and not tools:
        yield error("tools", "the row has calls, and there are no tools", "Add the tools.")
        return
    for number, call in enumerate(calls, start=1):
        prefix = f"call {number}: " if len(calls) > 1 else ""
        for issue in check_call(call, tools):
            yield replace(issue, field=issue.field, message=prefix + issue.message)
        if found := control_tokens_in("\n".join([call.name, *_texts(call.arguments)])):
            yield error(call.name, f"{prefix}an argument holds the control token {found[0]}", "Take it out.")
    if item.has_earlier_calls:
        unlearned = "the calls before the last message are not learned: only the last assistant message is"
        yield Issue(None, "messages", "warning", unlearned, "Add a row that ends with the call.")


def _result_problem(message: dict[str, Any]) -> str | None:
    """Why a tool's result cannot be rendered, or would be left out (FORMAT.md, section 3, and section 5, number 11)."""
    content, named = message.get("content"), bool(message.get("name"))
    if not content:
        return "the tool's result is empty, so that the prompt leaves it out"
    if not isinstance(content, str | dict | list):
        return f"a tool's result must be text or an object, found {shown(content)}"
    for item in content if isinstance(content, list) else [content]:
        if isinstance(content, list) and not isinstance(item, dict):
            return f"several results must all be objects, found {shown(item)}"
        whole = isinstance(item, dict) and isinstance(item.get("name"), str) and "response" in item
        if whole and not isinstance(item["response"], dict):
            return f"the response must be an object, found {shown(item['response'])}"
        if not whole and not named:
            return "the tool's result does not name its tool"
    return None


def _between_rows(dataset: ToolDataset) -> Iterator[Issue]:
    """Duplicates, contradictions, and requests that stand in both splits."""
    first_identical: dict[str, int] = {}
    answers: dict[str, tuple[int, str]] = {}
    numbered = reversed(list(enumerate(dataset.examples, 1)))
    in_train = {normalised(item.request): row for row, item in numbered if item.split == "train"}
    for row, item in enumerate(dataset.examples, start=1):
        earlier = first_identical.setdefault(_identity(item), row)
        if earlier != row:
            yield Issue(row, "messages", "warning", f"the same as row {earlier}", "Remove one of them.")
        else:
            asked, answer = _asked(item), _canonical(item.completion)
            known_row, known_answer = answers.setdefault(asked, (row, answer))
            if known_answer != answer:
                yield Issue(row, "tool_calls", "warning", f"the request of row {known_row} with another reply", "Keep the right one.")
        if item.split == "test" and (leak := in_train.get(normalised(item.request))):
            yield Issue(row, "split", "warning", f"the same request is in train (row {leak})", "Split again, or remove one of them.")


def statistics(dataset: ToolDataset) -> dict[str, Any]:
    """Counts: rows, tools, by_tool (rows that call it), by_kind (see Example.kind), by_split ("none": not split),
    distinct_requests, duplicates, request_characters (min, median, max)."""
    by_tool = dict.fromkeys((tool.name for tool in dataset.tools), 0)
    for item in dataset.examples:
        for name in dict.fromkeys(_call_names(item)):
            by_tool[name] = by_tool.get(name, 0) + 1
    kinds = Counter(item.kind for item in dataset.examples)
    splits = Counter(item.split or "none" for item in dataset.examples)
    lengths = [len(item.request) for item in dataset.examples] or [0]
    return {
        "rows": len(dataset.examples),
        "tools": len(dataset.tools),
        "by_tool": by_tool,
        "by_kind": {kind: kinds[kind] for kind in ("single", "parallel", "none", "answer")},
        "by_split": {name: splits[name] for name in (*SPLITS, "none")},
        "distinct_requests": len({normalised(item.request) for item in dataset.examples}),
        "duplicates": len(deduplicate(dataset)[1]),
        "request_characters": {"min": min(lengths), "median": median(lengths), "max": max(lengths)},
    }


def deduplicate(dataset: ToolDataset) -> tuple[ToolDataset, list[int]]:
    """The dataset without rows that repeat an earlier one, messages and tools alike; and the removed rows, counted from 1."""
    seen: set[str] = set()
    kept, removed = [], []
    for row, item in enumerate(dataset.examples, start=1):
        key = _identity(item)
        if key in seen:
            removed.append(row)
        else:
            seen.add(key)
            kept.append(item)
    return replace(dataset, examples=tuple(kept)), removed


def split(dataset: ToolDataset, test_fraction: float = 0.1, seed: int = 0) -> ToolDataset:
    """Every row with a split, "train" or "test"; rows that have one keep it.

    Requests that are the same when normalised go together (with a row that already has a split, to its side). Each kind of
    reply to each tool gives its share, as near as whole groups allow, and both sides get something where there are two groups.
    The same rows and seed give the same split in every process and Python version: the order is that of SHA-256.
    """
    if not 0 < test_fraction < 1:
        raise ConfigError(
            f"test_fraction must lie between 0 and 1, found {test_fraction}; 0.1 holds back every tenth row"
        )
    rows_of: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(dataset.examples):
        rows_of[normalised(item.request)].append(index)
    side: dict[str, str] = {}
    strata: dict[tuple, list[str]] = defaultdict(list)
    for request, rows in rows_of.items():
        given = [dataset.examples[index].split for index in rows]
        if any(given):
            side[request] = "train" if "train" in given else "test"
        else:
            first = dataset.examples[rows[0]]
            strata[(first.kind, *sorted(set(_call_names(first))))].append(request)
    place = {}  # a free group's place in its stratum, 0 to 1: the lowest of all strata together are held back
    for requests in strata.values():
        requests.sort(key=lambda request: _shuffle_key(request, seed))
        total, before = sum(len(rows_of[request]) for request in requests), 0
        for request in requests:
            place[request] = (before + len(rows_of[request]) / 2) / total
            before += len(rows_of[request])
    order = sorted(place, key=lambda request: (place[request], _shuffle_key(request, seed)))
    taken = sum(1 for item in dataset.examples if item.split == "test")
    wanted = test_fraction * len(dataset.examples)
    for request in order:
        side[request] = "test" if taken + len(rows_of[request]) / 2 <= wanted else "train"
        taken += len(rows_of[request]) if side[request] == "test" else 0
    if order and len(rows_of) > 1 and len(set(side.values())) == 1:  # a side is empty: it gets the smallest free group
        smallest = min(order, key=lambda request: len(rows_of[request]))
        side[smallest] = "train" if side[smallest] == "test" else "test"
    return replace(
        dataset,
        examples=tuple(
            item if item.split else replace(item, split=side[normalised(item.request)]) for item in dataset.examples
        ),
    )


def save(dataset: ToolDataset, folder: str | os.PathLike, beside: Mapping[str, str] | None = None) -> Path:
    """Writes tools.json and examples.jsonl (one row a line) into `folder` in one step. Every JSON value keeps its type.

    `beside`, names and texts, are files that belong to them. Raises DataError, and writes nothing, for values that JSON cannot
    hold (NaN, half a surrogate pair).
    """
    return write_all(folder, {**_texts_of(dataset), **(beside or {})})


def load(folder: str | os.PathLike) -> ToolDataset:
    """The dataset that `save` wrote. Raises DataError with every line that cannot be read."""
    try:
        complete(folder)
    except OSError as problem:
        raise DataError(f"{folder} was left half-written, and cannot be completed ({problem.strerror}).") from None
    tools_text, examples_text = (_read(Path(folder) / name) for name in (TOOLS_FILE, EXAMPLES_FILE))
    tools = tuple(tools_from_json(tools_text)) if tools_text.strip() != "[]" else ()
    examples: list[Example] = []
    issues: list[Issue] = []
    for row, line in enumerate(examples_text.split("\n"), start=1):  # not splitlines: text may hold U+2028
        if not line.strip():
            continue
        try:
            examples.append(Example.from_json(jsontext.loads(line, jsontext.ROW_DEPTH)))
        except (jsontext.JsonTextError, DataError) as problem:
            issues.append(Issue(row, "", "error", str(problem).rstrip("."), "Mend or remove the line."))
    if len(examples) > MAX_ROWS:
        issues.append(Issue(None, "examples", "error", f"more than {MAX_ROWS} rows", "Leave some out."))
    if issues:
        raise DataError(summary(f"{Path(folder) / EXAMPLES_FILE} cannot be read", issues), issues)
    return ToolDataset(tools, tuple(examples))


def sha256(dataset: ToolDataset) -> str:
    """Of what `save` writes: the same tools, rows, order and splits have the same digest."""
    digest = hashlib.sha256()
    for name, text in _texts_of(dataset).items():
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def _texts_of(dataset: ToolDataset) -> dict[str, str]:
    try:
        rows = "".join(f"{jsontext.dumps(item.to_json(), max_depth=jsontext.ROW_DEPTH)}\n" for item in dataset.examples)
        tools = (
            "[\n"
            + ",\n".join(jsontext.dumps(tool.to_json(), max_depth=jsontext.ROW_DEPTH) for tool in dataset.tools)
            + "\n]\n"
        )
    except jsontext.JsonTextError as problem:
        raise DataError(f"The dataset cannot be saved: it holds {problem}; correct or remove the row.") from None
    return {EXAMPLES_FILE: rows, TOOLS_FILE: tools if dataset.tools else "[]\n"}


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than the {MAX_BYTES >> 20} MB that a dataset may have.")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist; a dataset is a folder with {TOOLS_FILE} and {EXAMPLES_FILE}, as `import` makes it."
        ) from None
    except NotADirectoryError:
        raise DataError(
            f"{path.parent} is a file; a dataset is a folder with {TOOLS_FILE} and {EXAMPLES_FILE}, as `import` makes it."
        ) from None
    except OSError as problem:
        raise DataError(f"{path} cannot be opened ({problem.strerror}); make sure that it is a file that you may read.") from None
    except UnicodeDecodeError as problem:
        raise DataError(f"{path} cannot be read as UTF-8 text ({problem}).") from None


def _call_names(item: Example) -> list[str]:
    try:
        return [call.name for call in item.calls]
    except DataError:
        return []


def _developer_text(item: Example) -> str:
    first = item.messages[0] if item.messages else {}
    return "\n".join(_texts(first.get("content"))) if first.get("role") in ("developer", "system") else ""


def _texts(value: Any) -> Iterator[str]:
    """All text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, sort_keys=True, default=repr)


def _identity(item: Example) -> str:
    return _canonical([list(item.messages), _own_tools(item)])


def _asked(item: Example) -> str:
    """What the model is asked, spacing and closing punctuation aside; letters keep their case, since calls copy them."""
    prompt = []
    for message in item.prompt:
        content = message.get("content")
        prompt.append({**message, "content": " ".join(content.split()).rstrip(".!? ") if isinstance(content, str) else content})
    return _canonical([prompt, _own_tools(item)])


def _own_tools(item: Example) -> str:
    return "" if item.tools is None else _tools_key(item.tools)


def _tools_key(tools: tuple[ToolSpec, ...]) -> str:
    return _canonical([tool.to_json() for tool in tools])


def _shuffle_key(request: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{request}".encode("utf-8", "surrogatepass")).digest()
