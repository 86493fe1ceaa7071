"""Runs an exported file for real, on the machine at hand: LiteRT-LM for .litertlm and .task, the LiteRT interpreter for .tflite,
transformers' own reader for .gguf and, where it is installed, llama.cpp.

In a child process (`python -m pipeline.runtimes`), because a native library may crash and its memory should come back. Prompts are
texts from `functiongemma.render_prompt`; answers are texts with their control tokens, without the token they stopped at, which the
runtime does not tell. Knows nothing of tools, datasets or scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline import child
from pipeline.engine import Engine, opened
from pipeline.errors import ExportError
from pipeline.functiongemma import STOP_TOKENS

Conversation = tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]]]
"""Messages, and tools as OpenAI writes them."""

RUNS = ("litertlm", "task", "tflite", "gguf")
"""Formats that `answers` can run."""
NAMES = {"litertlm": "LiteRT-LM", "task": "LiteRT-LM", "tflite": "the LiteRT interpreter", "gguf": "transformers"}


def answers(
    path: str | Path, prompts: Sequence[str], max_new_tokens: int = 128, progress: child.Progress | None = None,
    tokenizer: str | Path | None = None,
) -> list[str]:  # fmt: skip
    """The greedy answers of the file at `path` to `prompts` (which begin with <bos>), in their order.

    A .tflite has no tokenizer: `tokenizer` is the folder of the model that it was made from; other files are read with their own.
    Raises ExportError if the file is none of RUNS, cannot be run, or if a prompt does not fit into its cache.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in RUNS:
        raise ExportError(f"{path.name} cannot be run here: expected one of {', '.join('.' + name for name in RUNS)}.")
    if not path.is_file():
        raise ExportError(f"{path} is missing; export the run again.")
    if kind == "tflite" and tokenizer is None:
        raise ExportError(f"{path.name} holds no tokenizer: it can be run only together with the model that it was made from.")
    if not prompts:
        return []
    job = {"path": str(path.resolve()), "prompts": list(prompts), "max_new_tokens": max_new_tokens}
    job |= {"tokenizer": str(Path(tokenizer).resolve())} if tokenizer is not None else {}
    return child.run("pipeline.runtimes", job, progress, f"Running {path.name} in {NAMES[kind]}")["answers"]


def rendered(path: str | Path, conversations: Sequence[Conversation]) -> list[str]:
    """The prompts, without <bos>, that the chat template inside a .litertlm or .gguf makes of conversations that end with the user.

    LiteRT-LM renders its own; that of a .gguf is rendered by transformers, as llama.cpp has another Jinja.

    Raises ExportError if the file cannot be opened or its template fails.
    """
    path = Path(path)
    job = {"path": str(path.resolve()), "conversations": [{"messages": list(m), "tools": list(t)} for m, t in conversations]}
    return child.run("pipeline.runtimes", job, None, f"Reading the chat template of {path.name}")["prompts"]


def without_stop(text: str) -> str:
    """An answer as the runtimes give it: without the stop token at its end."""
    for stop in STOP_TOKENS:
        if text.endswith(stop):
            return text.removesuffix(stop)
    return text


def _litert(path: Path, prompts: Sequence[str], max_new_tokens: int, progress: child.Progress) -> list[str]:
    from pipeline.export.inspect import inspect
    from pipeline.model import cpu_threads

    found = inspect(path)
    cache = (found["model"] or {}).get("cache_length")
    if not cache or not (found["model"] or {}).get("prefill_lengths"):
        raise ExportError(f"{path.name} holds no model that LiteRT-LM can run: {(found['problems'] or ['no signatures were found'])[0]}")
    texts = []
    with closing(Engine(path, cache, cpu_threads())) as engine:
        for number, prompt in enumerate(prompts, 1):
            if (length := engine.length(prompt)) >= cache:
                raise ExportError(f"A prompt of {length} tokens does not fit into the {cache} of {path.name}; raise --cache-length.")
            texts.append(engine.answer(prompt, max_new_tokens).text)
            progress(number / len(prompts), f"{number} of {len(prompts)} answers")
    return texts


def _rendered(path: Path, conversations: Sequence[dict[str, Any]]) -> list[str]:
    import litert_lm

    from pipeline.model import cpu_threads

    class Declared(litert_lm.Tool):
        def __init__(self, declaration: dict[str, Any]):
            self.declaration = declaration

        def get_tool_description(self) -> dict[str, Any]:
            return self.declaration

        def execute(self, param: Any) -> Any:
            raise NotImplementedError("nothing is called while prompts are compared")

    prompts = []
    with opened(path, cpu_threads()) as engine:
        for one in conversations:
            *before, last = one["messages"]
            tools = [Declared(tool) for tool in one["tools"]]
            try:
                with engine.create_conversation(messages=before, tools=tools, automatic_tool_calling=False) as chat:
                    prompts.append(chat.render_message_to_string(last))
            except RuntimeError as error:
                raise ExportError(f"The chat template inside {path.name} fails on the first message ({error}).") from error
    return prompts


def _rendered_gguf(path: Path, conversations: Sequence[dict[str, Any]]) -> list[str]:
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    from pipeline.export import containers

    template = containers.gguf(containers.opened(path))["values"].get("tokenizer.chat_template")
    try:
        return [
            render_jinja_template([one["messages"]], one["tools"], chat_template=template, add_generation_prompt=True, bos_token="")[0][0]
            for one in conversations
        ]
    except (TemplateError, TypeError, ValueError) as error:
        raise ExportError(f"The chat template inside {path.name} fails on the first message ({error}).") from error


def _gguf(path: Path, prompts: Sequence[str], max_new_tokens: int, progress: child.Progress) -> list[str]:
    from pipeline.export.gguf import load
    from pipeline.model import generate

    return [without_stop(answer.text) for answer in generate(load(path), prompts, max_new_tokens, progress)]


def _tflite(path: Path, folder: Path, prompts: Sequence[str], max_new_tokens: int, progress: child.Progress) -> list[str]:
    from tokenizers import Tokenizer

    from pipeline.litert_interpreter import Interpreter, generate
    from pipeline.model import cpu_threads

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    stops = [tokenizer.token_to_id(token) for token in STOP_TOKENS]
    rows = [tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
    made = generate(Interpreter(path, cpu_threads()), rows, stops, max_new_tokens, progress)
    return [tokenizer.decode(ids, skip_special_tokens=False) for ids in made]


def work(job: dict[str, Any], progress: child.Progress) -> dict[str, Any]:
    """The child's job: {"path", "prompts", "max_new_tokens"} -> {"answers"}, or {"path", "conversations"} -> {"prompts"}."""
    path = Path(job["path"])
    if "conversations" in job:
        render = _rendered_gguf if path.suffix.lower() == ".gguf" else _rendered
        return {"prompts": render(path, job["conversations"])}
    asked = job["prompts"], job["max_new_tokens"], progress
    match path.suffix.lower():
        case ".gguf":
            made = _gguf(path, *asked)
        case ".tflite":
            made = _tflite(path, Path(job["tokenizer"]), *asked)
        case _:
            made = _litert(path, *asked)
    return {"answers": made}


if __name__ == "__main__":
    child.serve(work)
