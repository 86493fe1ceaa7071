"""One model's answer to one request, for the playground: a few loaded models are kept, the rest is read from disk again.

Weights in memory belong to a folder, never to a visitor, and are read from it anew when it changes. Exported files and models that
are not ours are run in processes of their own, of which a few are kept, too. It knows nothing about widgets.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import functiongemma, model, serving
from pipeline.engine import Written
from pipeline.examples import conversation
from pipeline.serving import Served
from pipeline.tools import ToolSpec
from pipeline.ui.answer_view import Answer

KEPT = 3
"""Models in memory at a time: a base and two tuned ones are 1.6 GB with FunctionGemma 270M in bfloat16."""
MAX_NEW_TOKENS = 192
KEPT_SERVED = 2
"""Processes at a time; an exported FunctionGemma 270M takes 0.65 GB in int8."""

_kept: OrderedDict[tuple[str, int], Any] = OrderedDict()
_loading = threading.Lock()
_served: OrderedDict[tuple[str, int], Served] = OrderedDict()
_opening = threading.Lock()


def loaded(folder: str | Path) -> Any:
    """The model of a folder (`model.Loaded`), from memory if it is unchanged there. Raises ModelError."""
    folder = Path(folder).resolve()
    stamp = max((file.stat().st_mtime_ns for file in folder.glob("*.safetensors")), default=0)
    with _loading:
        found = _kept.pop((str(folder), stamp), None) or model.load(folder)
        _kept[(str(folder), stamp)] = found
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
        return found


def warm_up() -> None:
    """Load the embedded base and let it write a token: the first `generate` of a process imports and compiles for seconds."""
    model.generate(loaded(model.EMBEDDED), [functiongemma.render_prompt(conversation("hello"), None, True)], max_new_tokens=1)


def served(path: str | Path) -> Served:
    """The model at `path` in a process of its own, which is kept while few others are asked. Raises ModelError."""
    path = Path(path).resolve()
    stamp = path.stat().st_mtime_ns if path.exists() else 0
    with _opening:
        found = _served.pop((str(path), stamp), None)
        if found is None or not found.alive:
            while len(_served) >= KEPT_SERVED:
                _served.popitem(last=False)[1].close()
            found = Served(path)
        _served[(str(path), stamp)] = found
        return found


def answer(source: str | Path, messages: Sequence[dict[str, Any]], tools: Sequence[ToolSpec], apart: bool = False) -> Answer:
    """The greedy answer of a model: of the checkpoint in a folder, here or `apart` in a process of its own, or of a .litertlm, apart.

    Raises ModelError, or PipelineError for messages that cannot be rendered.
    """
    declared = [tool.to_json() for tool in tools]
    prompt = functiongemma.render_prompt(messages, declared, add_generation_prompt=True)
    return Answer.of(prompt, written(source, prompt, apart), declared)


def written(source: str | Path, prompt: str, apart: bool = False) -> Written:
    """The same for a prompt that is text already."""
    if apart or Path(source).suffix == ".litertlm":
        return served(source).answer(prompt, MAX_NEW_TOKENS)
    return serving.written(loaded(source), prompt, MAX_NEW_TOKENS)
