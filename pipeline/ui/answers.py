"""One model's answer to one request, for the playground: a few loaded models are kept, the rest is read from disk again.

Weights in memory belong to a folder, never to a visitor, and are read from it anew when it changes. It knows nothing about widgets.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import functiongemma, model
from pipeline.examples import conversation
from pipeline.functiongemma import Reply
from pipeline.tools import ToolCall, ToolSpec

KEPT = 3
"""Models in memory at a time: a base and two tuned ones are 1.6 GB with FunctionGemma 270M in bfloat16."""
DEVICE = "cpu" if os.environ.get("SPACES_ZERO_GPU") else None
"""Where they are: what suits; on ZeroGPU the CPU, because this process only imitates a GPU and has none outside a slot."""
MAX_NEW_TOKENS = 192
MAX_REQUEST = 2_000
"""Characters of a request; a longer one is not what such a model is for, and would hold up the line."""

_kept: OrderedDict[tuple[str, int], Any] = OrderedDict()
_loading = threading.Lock()


@dataclass(frozen=True)
class Answer:
    """What a model wrote to a prompt, read back. `seconds` is the whole time of writing, without loading."""

    prompt: str
    text: str
    reply: Reply
    tokens: int
    seconds: float
    stopped: bool

    @property
    def calls(self) -> list[ToolCall]:
        return [ToolCall(call.name, call.arguments) for call in self.reply.calls]


def loaded(folder: str | Path) -> Any:
    """The model of a folder (`model.Loaded`), from memory if it is unchanged there. Raises ModelError."""
    folder = Path(folder).resolve()
    stamp = max((file.stat().st_mtime_ns for file in folder.glob("*.safetensors")), default=0)
    with _loading:
        found = _kept.pop((str(folder), stamp), None) or model.load(folder, device=DEVICE)
        _kept[(str(folder), stamp)] = found
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
        return found


def warm_up() -> None:
    """Load the embedded base and let it write a token: the first `generate` of a process imports and compiles for seconds."""
    model.generate(loaded(model.EMBEDDED), [functiongemma.render_prompt(conversation("hello"), None, True)], max_new_tokens=1)


def with_result(messages: Sequence[dict[str, Any]], calls: Sequence[ToolCall], result: str) -> list[dict[str, Any]]:
    """The conversation after the calls were made and the function answered `result` to each."""
    made = {"role": "assistant", "tool_calls": [{"type": "function", "function": call.to_json()} for call in calls]}
    return [*messages, made, *({"role": "tool", "name": call.name, "content": result} for call in calls)]


def answer(folder: str | Path, messages: Sequence[dict[str, Any]], tools: Sequence[ToolSpec]) -> Answer:
    """The greedy answer of the model in `folder`. Raises ModelError, or PipelineError for messages that cannot be rendered."""
    declared = [tool.to_json() for tool in tools]
    prompt = functiongemma.render_prompt(messages, declared, add_generation_prompt=True)
    ready = loaded(folder)
    start = time.perf_counter()
    [written] = model.generate(ready, [prompt], max_new_tokens=MAX_NEW_TOKENS)
    seconds = time.perf_counter() - start
    return Answer(prompt, written.text, functiongemma.parse(written.text, declared), len(written.token_ids), seconds, written.stopped)
