"""Where an exported file goes: what each destination is for, how large its file will be, how an app loads it.

Texts and numbers only. What the files are made of is `pipeline.export`. The snippets were written after the runtimes' own guides of
August 2026; only the two in Python have been run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Destination:
    """One card: an export format, whom it is for, and the number formats that it can have, the usual first."""

    format: str
    title: str
    file: str
    purpose: str
    quantize: tuple[tuple[str, str], ...]
    language: str
    snippet: str


FOUR = "4 bit: half the size, look at the score"
LITERT = (("8 bit (recommended)", "int8"), (FOUR, "int4"), ("32 bit: exact, four times the size", "float32"))
DESTINATIONS = (
    Destination(
        "litertlm", "Android, iOS, desktop", "LiteRT-LM, .litertlm",
        "For Google AI Edge Gallery (open it there as a model of your own) and for apps that use the LiteRT-LM library.",
        LITERT, "python",
        '''# pip install litert-lm - runs as it is on Linux, macOS and Windows. Kotlin: com.google.ai.edge.litertlm:litertlm-android
import json
import litert_lm

tools = json.load(open("tools.json"))
system = [{{"role": "developer", "content": "You are a model that can do function calling with the following functions"}}]
engine = litert_lm.Engine("{file}", backend=litert_lm.Backend.CPU())
chat = engine.create_conversation(messages=system, tools=tools, automatic_tool_calling=False)
print(chat.send_message("what a user of your app says").to_json()["tool_calls"])
''',
    ),
    Destination(
        "task", "Flutter", "flutter_gemma, .task",
        "For Flutter apps with the flutter_gemma package, which writes the turns around the request itself.",
        LITERT, "typescript",
        '''// Dart; flutter pub add flutter_gemma
await FlutterGemma.initialize();
await FlutterGemma.installModel(modelType: ModelType.functionGemma).fromFile('/path/to/{file}').install();

final model = await FlutterGemma.getActiveModel(maxTokens: 1024);
final chat = await model.createChat(tools: tools, supportsFunctionCalls: true, modelType: ModelType.functionGemma, topK: 1);
await chat.addQueryChunk(Message.text(text: 'what a user of your app says', isUser: true));
final answer = await chat.generateChatResponse();
if (answer is FunctionCallResponse) print('${{answer.name}} ${{answer.args}}');
''',
    ),
    Destination(
        "gguf", "llama.cpp, Ollama", ".gguf",
        "For llama.cpp and what is built on it. Send it the whole prompt: Ollama's own renderer would write another one.",
        (("8 bit (recommended)", "q8_0"), (FOUR, "q4_0"), ("16 bit: twice the size", "float16")), "shell",
        '''# The whole prompt, control tokens included, as the Playground shows it.
llama-cli -m {file} --special -no-cnv --temp 0 -f prompt.txt
''',
    ),
    Destination(
        "merged", "Python", "merged weights, .safetensors",
        "For transformers, vLLM and further training: the checkpoint as Hugging Face lays it out, in one archive.",
        (("as trained", ""),), "python",
        '''# pip install torch transformers - unpack the archive first
import json
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("{folder}"), AutoModelForCausalLM.from_pretrained("{folder}")
messages = [{{"role": "developer", "content": "You are a model that can do function calling with the following functions"}},
            {{"role": "user", "content": "what a user of your app says"}}]
inputs = tokenizer.apply_chat_template(messages, tools=json.load(open("tools.json")), add_generation_prompt=True,
                                       return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=128)[0][inputs["input_ids"].shape[1]:]))
''',
    ),
)  # fmt: skip
BYTES_PER_PARAMETER = {"int8": 1.04, "int4": 0.54, "float32": 4.0, "q8_0": 1.09, "q4_0": 0.59, "float16": 2.0}
"""Measured on the 270M shape (268 million parameters): 280, 146, 1,075, 292, 158 and 539 MB."""
WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}


def destination(format: str) -> Destination:
    return next(one for one in DESTINATIONS if one.format == format)


def expected_size(model: Path, quantize: str) -> float:
    """Bytes that the file of the checkpoint in `model` will have, within some percent."""
    weights = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    settings = json.loads((model / "config.json").read_text("utf-8"))
    parameters = weights / WIDTH.get(settings.get("dtype") or settings.get("torch_dtype") or "float32", 4)
    return parameters * BYTES_PER_PARAMETER[quantize] if quantize else weights
