"""Where an exported file runs, with which settings, and what does not work: the compatibility card of one artifact.

Every statement depends on the file at hand (format, lengths, stop tokens, turns) and names its source: the check that this file has passed,
what this project knows of what it wrote into it, or a public page, read in November 2026. What no page says and nobody tried is unknown.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from pipeline.export import Artifact

RUNS, SET, NOT, OPEN = "runs", "set", "does not work", "unknown"
MEASURED, OURS = "measured here", "this project"

LITERT_LM = "https://github.com/google-ai-edge/LiteRT-LM"
KOTLIN = f"{LITERT_LM}/blob/main/docs/api/kotlin/getting_started.md"
SWIFT = "https://ai.google.dev/edge/litert-lm/swift"
WEB = "https://ai.google.dev/edge/litert-lm/js"
NPU = "https://ai.google.dev/edge/litert/next/litert_lm_npu"
GPU_PADS = f"{LITERT_LM}/issues/3280"
NPU_PREFILL = f"{LITERT_LM}/issues/3508"
GALLERY = "https://github.com/google-ai-edge/gallery"
GALLERY_GUIDE = f"{GALLERY}/pull/457"
GALLERY_TFLITE = f"{GALLERY}/issues/285"
FLUTTER_RENAMED = "https://pub.dev/packages/flutter_gemma/versions/1.11.4"
FLUTTER = "https://github.com/DenisovAV/flutter_edge_ai/blob/main/packages/flutter_edge_ai"
FLUTTER_README = f"{FLUTTER}/README.md"
FLUTTER_CHANGES = f"{FLUTTER}/CHANGELOG.md"
FLUTTER_PROMPT = f"{FLUTTER}/lib/core/extensions.dart"
FLUTTER_SKILLS = f"{FLUTTER}/skills"
INFERENCE_SKILL = f"{FLUTTER_SKILLS}/flutter-edge-ai-inference/SKILL.md"
MEDIAPIPE_SKILL = f"{FLUTTER_SKILLS}/flutter-edge-ai-mediapipe/SKILL.md"
FLUTTER_MEDIAPIPE = "https://pub.dev/packages/flutter_edge_ai_mediapipe/versions/1.2.6"
FLUTTER_GGUF = "https://pub.dev/documentation/flutter_edge_ai/2.5.0/"
MEDIAPIPE = "https://ai.google.dev/edge/mediapipe/solutions/genai/llm_inference/android"
LLAMA_PARSER = "https://github.com/ggml-org/llama.cpp/pull/19050"
OLLAMA = "https://ollama.com/library/functiongemma"
OLLAMA_RENDERER = "https://github.com/ollama/ollama/blob/main/model/renderers/functiongemma.go"
OLLAMA_ADAPTER = "https://mintlify.com/ollama/ollama/advanced/import"
VLLM = "https://github.com/vllm-project/vllm/pull/31218"
VLLM_PARSER = "https://docs.vllm.ai/en/v0.18.0/api/vllm/tool_parsers/functiongemma_tool_parser/"
FLOAT16 = "https://github.com/huggingface/transformers/issues/39972"
PEFT = "https://huggingface.co/docs/peft/package_reference/peft_model"

CHECKED_WITH = {
    "litertlm": ("LiteRT-LM", "litert-lm"), "task": ("LiteRT-LM", "litert-lm"), "tflite": ("LiteRT", "ai-edge-litert"),
    "gguf": ("transformers", "transformers"), "merged": ("transformers", "transformers"), "adapter": ("peft", "peft"),
}  # fmt: skip
"""Format -> (what its check runs it in, that package's name in the registry)."""


@dataclass(frozen=True)
class Statement:
    """One fact. `kind` is RUNS, SET (a setting), NOT or OPEN (nobody knows); `source` an address, MEASURED or OURS."""

    kind: str
    text: str
    source: str


@dataclass(frozen=True)
class Place:
    """A runtime or an app, and what is known of the file there."""

    name: str
    statements: tuple[Statement, ...]


def checked_with(format: str) -> str:
    """The runtime that the check of such a file runs it in, as installed on this machine: `LiteRT-LM 0.18.1 on Linux`."""
    name, package = CHECKED_WITH[format]
    system = platform.system()
    return f"{name} {version(package)} on {'macOS' if system == 'Darwin' else system}"


def places(artifact: Artifact) -> tuple[Place, ...]:
    """What is known of where `artifact` runs, the place it is made for first."""
    makers = {"litertlm": _litertlm, "task": _task, "tflite": _tflite, "gguf": _gguf, "merged": _merged, "adapter": _adapter}
    return tuple(Place(name, tuple(statements)) for name, statements in makers[artifact.format](artifact))


def as_text(artifact: Artifact) -> str:
    """For a terminal: a line a statement, its source behind it."""
    lines = []
    for place in places(artifact):
        lines += [place.name, *(f"  {one.kind}: {one.text} [{one.source}]" for one in place.statements)]
    return "\n".join(lines)


def as_markdown(artifact: Artifact) -> str:
    """For the model card: a list a place."""
    parts = []
    for place in places(artifact):
        items = [f"- *{one.kind}*: {one.text} ({_link(one.source)})" for one in place.statements]
        parts += [f"**{place.name}**\n", *items, ""]
    return "\n".join(parts)


def _link(source: str) -> str:
    return f"[source]({source})" if "://" in source else source


def _runs(text: str, source: str = OURS) -> Statement:
    return Statement(RUNS, text, source)


def _set(text: str, source: str = OURS) -> Statement:
    return Statement(SET, text, source)


def _not(text: str, source: str = OURS) -> Statement:
    return Statement(NOT, text, source)


def _open(text: str, source: str = OURS) -> Statement:
    return Statement(OPEN, text, source)


# -- what is true of several formats


def _checked(artifact: Artifact) -> Statement:
    runtime = artifact.details.get("checked_with") or CHECKED_WITH[artifact.format][0]
    answered = f"{artifact.answers_identical} of {artifact.answers_total} held-out requests were answered as the model answers them"
    return _runs(f"{runtime}, CPU: {answered}.", MEASURED)


def _prompts(artifact: Artifact) -> list[Statement]:
    equal, total = (artifact.details.get(f"prompts_{name}") for name in ("equal", "total"))
    words = f"The template inside writes {equal} of {total} of the dataset's prompts exactly as in training."
    return [_runs(words, MEASURED)] if total else []


def _stops(artifact: Artifact) -> Statement:
    stops = ", ".join(f"`{stop}`" for stop in artifact.details.get("stop_tokens") or ())
    return _set(
        f"Stop tokens, in the file: {stops}. Not `<end_function_call>`, which older guides name: it cuts parallel "
        "calls after the first.",
        MEASURED,
    )


def _context(artifact: Artifact, how: str, source: str = MEASURED) -> Statement:
    """The length that the file can hold, in the words of a runtime: `{cache}` tokens."""
    return _set(how.format(cache=artifact.details.get("cache_length", "unknown")), source)


PHONES = _open("It has not been run on a phone here.")
GPU = _not(
    "GPU: files of Gemma 3 270M, which has FunctionGemma's shape, are reported to write only `<pad>` on LiteRT-LM's "
    "GPU backend (macOS and Android, 0.15 and 0.16), and to answer on the CPU. Set the CPU until you have tried your "
    "own phones.",
    GPU_PADS,
)
FLOAT_ONLY = _set("float32 or bfloat16. Not float16, in which Gemma 3 overflows.", FLOAT16)
RENAMED = _set(
    "flutter_gemma is called flutter_edge_ai from 1.11.4 on; the old packages stay and get nothing new. Since 1.0 "
    "the core runs nothing by itself: register an engine in `initialize(inferenceEngines: [...])`.",
    FLUTTER_RENAMED,
)


def _flutter_chat(file_type: str) -> Statement:
    return _set(
        f"Install it with `modelType: ModelType.functionGemma, fileType: ModelFileType.{file_type}` (its name is not "
        "looked at); give the chat `supportsFunctionCalls: true` and every message of the user `isUser: true`.",
        f"{FLUTTER_SKILLS}/flutter-edge-ai-function-calling/SKILL.md",
    )


def _npu(artifact: Artifact) -> list[Statement]:
    found = [_not("NPU: such files are compiled for one chip each; this one is not.", NPU)]
    if longest := artifact.details.get("longest_prompt"):
        found.append(_not(
            "And NPU files of Gemma 3, as others compiled them, keep only the first piece of a prompt, 128 tokens "
            f"in the published ones; here prompts have up to {longest}.",
            NPU_PREFILL,
        ))  # fmt: skip
    return found


# -- one format each: (name of the place, statements)


def _litertlm(artifact: Artifact) -> Iterator[tuple[str, list[Statement]]]:
    yield "LiteRT-LM: Android, iOS, macOS, Windows, Linux", [
        _checked(artifact),
        *_prompts(artifact),
        _runs("Android and JVM: Kotlin, `com.google.ai.edge.litertlm:litertlm-android`, called stable by its makers.", LITERT_LM),
        _runs("iOS and macOS: a Swift package, called an early preview.", LITERT_LM),
        PHONES,
        _set("Backend in Kotlin: `Backend.CPU()`.", KOTLIN),
        _set("Backend in Swift: `.cpu()`.", SWIFT),
        _context(artifact, "Context: {cache} tokens, prompt and answer together; ask for no more (`maxNumTokens`)."),
        _set(
            "First message: the developer's sentence. Tools: as in tools.json. Automatic tool calling: off, if your "
            "app decides what is done.",
            KOTLIN,
        ),
        _stops(artifact),
        GPU,
        *_npu(artifact),
        _not("Web: the JavaScript API is an early preview for models that were built for the web.", WEB),
    ]
    yield "Google AI Edge Gallery", [
        _runs("It loads models of your own; Android 12 or iOS 17 at least.", GALLERY),
        _open("What it shows of calls to your functions: its Mobile Actions know their own, others need another build.", GALLERY_GUIDE),
    ]
    yield "flutter_edge_ai (once flutter_gemma)", [
        _runs(
            "With flutter_edge_ai_litertlm on Android (arm64-v8a, minSdk 30), iOS and desktop; the runtime writes "
            "the prompt with the file's own template.",
            FLUTTER_README,
        ),
        RENAMED,
        _set(
            "flutter_gemma 1.8.4 with flutter_gemma_litertlm 1.7.1 at least, or flutter_edge_ai: older ones give a "
            "function's result back as words of the user, and on iOS, before 1.8.3, write the turns twice.",
            FLUTTER_CHANGES,
        ),
        _flutter_chat("litertlm"),
        _context(artifact, "`maxTokens: {cache}` is the whole context; less than 1024 is raised to 1024.", INFERENCE_SKILL),
        _set("`preferredBackend: PreferredBackend.cpu`; left out, the GPU is tried first.", INFERENCE_SKILL),
    ]


def _task(artifact: Artifact) -> Iterator[tuple[str, list[Statement]]]:
    wrapped = bool(artifact.details.get("wrap_turns"))
    flutter = [
        _runs(
            "With flutter_edge_ai_mediapipe on Android and iOS (16 at least). It writes the whole prompt itself, so "
            "this file adds nothing.",
            FLUTTER_PROMPT,
        ),
        RENAMED,
        _set(
            "flutter_gemma 1.2.3 at least. FunctionGemma came with 0.11.14, but before 1.2.3 numbers, booleans and "
            "lists are lost from calls, and the prompt is not the one of the model's template.",
            FLUTTER_CHANGES,
        ),
        _flutter_chat("task"),
        _context(artifact, "`maxTokens: {cache}` is the whole context; a smaller one is not raised.", MEDIAPIPE_SKILL),
        _not("Desktop: there it takes .litertlm only.", FLUTTER_README),
        _not("GPU on iOS: a .task of Gemma 3 1B reached the app's memory limit while loading; load it on the CPU.", FLUTTER_MEDIAPIPE),
        _open("The web, where .task files run on the GPU only: this file has not been tried there.", MEDIAPIPE_SKILL),
    ]
    twice = _not("It writes the turns itself and this file writes them again, so the model would see them twice.", FLUTTER_PROMPT)
    yield "flutter_edge_ai (once flutter_gemma)", [twice] if wrapped else flutter
    yield "MediaPipe LLM Inference: Android, iOS", [
        _runs("`com.google.mediapipe:tasks-genai`; made for phones such as Pixel 8 and Samsung S23, not for emulators.", MEDIAPIPE),
        PHONES,
        _set(
            "This file writes `<start_of_turn>user` before what you send and `<start_of_turn>model` after it. The "
            "declarations of your functions then stand in the user's turn, where the model has not seen them in "
            "training: score it before you rely on it."
            if wrapped
            else "Send the whole prompt, turns and declarations included: this file adds only `<bos>`."
        ),
        _context(artifact, "Context: {cache} tokens, prompt and answer together (`setMaxTokens`)."),
        _stops(artifact),
        _set("Google maintains this API and no more; for new apps it names LiteRT-LM, which takes the .litertlm.", FLUTTER_MEDIAPIPE),
        _not("NPU: not for .task files.", FLUTTER_CHANGES),
        _open("Newer MediaPipe: from 1.0 on its Python package makes no .task files; how long phones will read them is not known."),
    ]
    yield "LiteRT-LM", [
        _checked(artifact),
        _set("Checked with whole prompts, which the turns that a file may add are not part of."),
        _open("The GPU: for .litertlm files of this shape LiteRT-LM's is reported to write only `<pad>`.", GPU_PADS),
    ]


def _tflite(artifact: Artifact) -> Iterator[tuple[str, list[Statement]]]:
    prefill = artifact.details.get("prefill_length", 256)
    yield "LiteRT (once TensorFlow Lite)", [
        _checked(artifact),
        _set(f"Signatures `prefill_{prefill}` and `decode`; tokenizer, key-value cache, mask and stop tokens are your code's."),
        _context(artifact, "Cache: {cache} tokens, prompt and answer together."),
        PHONES,
        _not("AI Edge Gallery loads no bare .tflite; take the .litertlm.", GALLERY_TFLITE),
    ]


def _llama_cpp(artifact: Artifact) -> Statement:
    """What llama.cpp itself made of the file, where it is installed."""
    found = artifact.details.get("llama_cpp")
    if not found:
        return _open("llama.cpp itself was not installed where this file was made, and has not run it.")
    if "problem" in found:
        return _open(f"{found['with']} could not be asked where this file was made.")
    return _runs(f"{found['with']}: {found['identical']} of {found['total']} of the same requests.", MEASURED)


def _gguf(artifact: Artifact) -> Iterator[tuple[str, list[Statement]]]:
    yield "llama.cpp", [
        _checked(artifact),
        _llama_cpp(artifact),
        *_prompts(artifact),
        _set("Send the whole prompt, control tokens included, and have them printed: `--special -no-cnv --temp 0`."),
        _not("Its server does not read FunctionGemma's calls; the change that did was closed. Parse the text yourself.", LLAMA_PARSER),
    ]
    yield "Ollama", [
        _open("It has not been run in Ollama here."),
        _set('`ollama create NAME -f Modelfile`, then `"raw": true` with the whole prompt. The Modelfile lies beside the file.'),
        _set("Ollama's library asks for 0.13.5 or later for FunctionGemma.", OLLAMA),
        _not(
            "Its own renderer (`RENDERER functiongemma`) writes another prompt: a sentence more, and of a parameter "
            "only description and type, without enums and nested schemas.",
            OLLAMA_RENDERER,
        ),
    ]
    yield "flutter_edge_ai", [_open("2.5 lists an engine for .gguf; which prompt it writes is not known.", FLUTTER_GGUF)]


def _merged(artifact: Artifact) -> Iterator[tuple[str, list[Statement]]]:
    yield "transformers (Python)", [
        _checked(artifact),
        FLOAT_ONLY,
        _set("Decode greedily, stop at the three tokens of generation_config.json, and keep special tokens in the text."),
    ]
    yield "vLLM", [
        _runs("`--enable-auto-tool-choice --tool-call-parser functiongemma`.", VLLM),
        _not(
            "That parser reads only what stands between `<escape>`: numbers, booleans, lists and objects are lost "
            "from calls. If your functions have such parameters, ask for the text and parse it yourself.",
            VLLM_PARSER,
        ),
        _open("It has not been run in vLLM here."),
    ]
    yield "Phones", [_not("Not as it is: the .litertlm, .task and .gguf files are made from it.")]


def _adapter(artifact: Artifact) -> Iterator[tuple[str, list[Statement]]]:
    base, revision = artifact.details.get("base_model_name_or_path"), artifact.details.get("revision")
    named = "the embedded demonstration model" if base == "embedded" else f"`{base}`"
    yield "peft (Python)", [
        _checked(artifact),
        _set(f"Load it onto {named}{f' at revision `{revision}`' if revision else ''} and nothing else: it is a difference to that model."),
        FLOAT_ONLY,
        _runs("`merge_and_unload()` makes the whole model of both.", PEFT),
    ]
    yield "Elsewhere", [
        _open("vLLM and llama.cpp, which take adapters too: not tried here."),
        _open("Ollama imports adapters; whether for this model is not known.", OLLAMA_ADAPTER),
        _not("Phones: the .litertlm, .task and .gguf files hold the merged weights."),
    ]
