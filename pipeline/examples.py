"""One example, and tools with examples: what a row is.

Rows are OpenAI/TRL-shaped messages of which the last assistant message is learned. Knows nothing of files, checks or splits
(dataset.py), of the formats rows come from (importers.py), or of tokens.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any

from pipeline.errors import DataError
from pipeline.schema import shown
from pipeline.tools import TRIGGER, ToolCall, ToolSpec, tools_from_json

DEFAULT = TRIGGER  # the developer sentence of an example that brings none
SPLITS = ("train", "test")
ROLES = ("developer", "system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Example:
    """One row: a conversation whose last assistant message is to be learned.

    `messages` hold {"role", "content"}, {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name",
    "arguments": mapping}}]} and {"role": "tool", "name", "content"}. `tools` None means the dataset's; `split` is "train",
    "test" or None (not yet split).
    """

    messages: tuple[dict[str, Any], ...]
    tools: tuple[ToolSpec, ...] | None = None
    split: str | None = None

    @cached_property
    def _last(self) -> int:
        """Index of the final assistant message, or the number of messages where there is none."""
        indices = [index for index, message in enumerate(self.messages) if message.get("role") == "assistant"]
        return indices[-1] if indices else len(self.messages)

    @cached_property
    def _calls(self) -> tuple[ToolCall, ...]:
        return tuple(ToolCall.from_json(call) for call in self.completion.get("tool_calls") or [])

    @property
    def prompt(self) -> list[dict[str, Any]]:
        """The messages before the final assistant message."""
        return list(self.messages[: self._last])

    @property
    def completion(self) -> dict[str, Any]:
        """The final assistant message, {} where there is none."""
        return self.messages[self._last] if self._last < len(self.messages) else {}

    @property
    def request(self) -> str:
        """The last text of the user before the final assistant message, "" where there is none."""
        texts = [message.get("content") for message in self.prompt if message.get("role") == "user"]
        return texts[-1] if texts and isinstance(texts[-1], str) else ""

    @property
    def calls(self) -> list[ToolCall]:
        """The calls to be learned, in order; [] for a reply in words."""
        return list(self._calls)

    @property
    def has_earlier_calls(self) -> bool:
        """Whether the assistant calls something before the final message: that is context only, and not learned."""
        return any(message.get("role") == "assistant" and message.get("tool_calls") for message in self.prompt)

    @property
    def reply_text(self) -> str:
        """The words of the final assistant message."""
        content = self.completion.get("content")
        return content if isinstance(content, str) else ""

    @property
    def kind(self) -> str:
        """What is to be learned: "single", "parallel" (several calls), "none" (words instead of a call), or "answer"
        (words after a tool's result)."""
        if self.calls:
            return "single" if len(self.calls) == 1 else "parallel"
        return "answer" if self.prompt and self.prompt[-1].get("role") == "tool" else "none"

    def to_json(self) -> dict[str, Any]:
        """{"messages", and "tools" and "split" where the row has them}."""
        row: dict[str, Any] = {"messages": list(self.messages)}
        if self.tools is not None:
            row["tools"] = [tool.to_json() for tool in self.tools]
        return row | ({"split": self.split} if self.split else {})

    @classmethod
    def from_json(cls, row: Any) -> Example:
        """The row that `to_json` wrote; raises DataError where its shape is another (its content may still be wrong)."""
        messages = row.get("messages") if isinstance(row, dict) else None
        if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
            raise DataError('a row needs "messages", a list of objects with a role')
        for message in messages:
            calls = message.get("tool_calls") or []
            if not isinstance(calls, list):
                raise DataError(f'"tool_calls" must be a list, found {shown(calls)}')
            for call in calls:
                function = call.get("function") if isinstance(call, dict) else None
                if not isinstance(function, dict) or not isinstance(function.get("arguments", {}), dict):
                    raise DataError(
                        f'a tool call must be {{"function": {{"name", "arguments": object}}}}, found {shown(call)}'
                    )
        if row.get("split") not in (None, *SPLITS):
            raise DataError(f"the split must be train or test, found {shown(row['split'])}")
        tools = tuple(tools_from_json(row["tools"])) if row.get("tools") is not None else None
        return cls(tuple(messages), tools, row.get("split"))


@dataclass(frozen=True)
class ToolDataset:
    """Tools and the examples that use them."""

    tools: tuple[ToolSpec, ...]
    examples: tuple[Example, ...]

    def tools_of(self, example: Example) -> tuple[ToolSpec, ...]:
        """The tools that are declared in an example's prompt: its own, else the dataset's."""
        return self.tools if example.tools is None else example.tools


def example(
    request: str,
    calls: Iterable[ToolCall] = (),
    reply: str = "",
    developer: str | None = DEFAULT,
    split: str | None = None,
) -> Example:
    """A row of one request and its calls, or a reply in words; `developer` None or "" leaves the developer message out."""
    calls = list(calls)
    answer: dict[str, Any] = {"role": "assistant"}
    if reply or not calls:
        answer["content"] = reply
    if calls:
        answer["tool_calls"] = [{"type": "function", "function": call.to_json()} for call in calls]
    first = [{"role": "developer", "content": developer}] if developer else []
    return Example((*first, {"role": "user", "content": request}, answer), split=split)


def conversation(request: str, dataset: ToolDataset | None = None) -> list[dict[str, Any]]:
    """The messages of a fresh request, begun as most examples of `dataset` begin: the model has seen no other beginning."""
    beginnings = Counter(_beginning(row) for row in dataset.examples) if dataset else Counter()
    developer = beginnings.most_common(1)[0][0] if beginnings else DEFAULT
    return fresh(request, developer)


def fresh(request: str, developer: str) -> list[dict[str, Any]]:
    """The messages of a request to a model that was trained with these words of the developer, or with none."""
    first = [{"role": "developer", "content": developer}] if developer else []
    return [*first, {"role": "user", "content": request}]


def with_results(messages: Sequence[dict[str, Any]], calls: Sequence[ToolCall], results: Sequence[Any]) -> list[dict[str, Any]]:
    """The conversation after the calls were made and answered: one result a call, an object or a text."""
    made = {"role": "assistant", "tool_calls": [{"type": "function", "function": call.to_json()} for call in calls]}
    answered = [
        {"role": "tool", "name": call.name, "content": {"name": call.name, "response": result} if isinstance(result, dict) else result}
        for call, result in zip(calls, results, strict=True)
    ]
    return [*messages, made, *answered]


def to_try(dataset: ToolDataset, most: int = 8) -> list[str]:
    """Requests to try a model with: rows that training does not see (all, where none is held out), spread over the tools."""
    by_tool: dict[str, list[str]] = {}
    for row in [row for row in dataset.examples if row.split == "test"] or dataset.examples:
        by_tool.setdefault(", ".join(call.name for call in row.calls), []).append(row.request)
    in_turn = zip_longest(*by_tool.values())  # one of each tool, then the second of each, ...
    return list(dict.fromkeys(request for turn in in_turn for request in turn if request))[:most]


def _beginning(row: Example) -> str:
    first = row.messages[0] if row.messages else {}
    text = first.get("content") if first.get("role") in ("developer", "system") else ""
    return text if isinstance(text, str) else ""


def normalised(request: str) -> str:
    """A request without the differences that make no other request: case, accents' encoding, spaces, punctuation."""
    folded = unicodedata.normalize("NFKC", request).casefold()
    words = "".join(" " if unicodedata.category(char)[0] in "PZC" else char for char in folded)
    return " ".join(words.split()) or folded.strip()
