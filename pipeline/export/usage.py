"""How an app loads each kind of file: a snippet a format, `{file}` stands for its name.

Written after the runtimes' own guides, read in November 2026. Those in Python have been run (tests/test_export.py and
test_export_adapter.py run the first and the last), Dart, Kotlin and shell have not.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.export import Artifact

LITERT_LM = '''# pip install litert-lm - runs as it is on Linux, macOS and Windows. Kotlin: com.google.ai.edge.litertlm:litertlm-android
import json
import litert_lm


class Declared(litert_lm.Tool):  # what a tool is; doing what a call asks for is your app's part
    def __init__(self, declaration):
        self.declaration = declaration

    def get_tool_description(self):
        return self.declaration

    def execute(self, param):
        raise NotImplementedError


tools = [Declared(tool) for tool in json.load(open("tools.json"))]
system = [{"role": "developer", "content": "You are a model that can do function calling with the following functions"}]
with litert_lm.Engine("{file}", backend=litert_lm.Backend.CPU()) as engine:
    with engine.create_conversation(messages=system, tools=tools, automatic_tool_calling=False) as chat:
        print(chat.send_message("what a user of your app says").to_json().get("tool_calls"))
'''

FLUTTER = '''// flutter pub add flutter_edge_ai flutter_edge_ai_mediapipe - flutter_gemma goes on under this name since 1.11.4
import 'package:flutter_edge_ai/flutter_edge_ai.dart';
import 'package:flutter_edge_ai_mediapipe/flutter_edge_ai_mediapipe.dart';

await FlutterEdgeAi.initialize(inferenceEngines: [MediaPipeEngine()]);
await FlutterEdgeAi.installModel(modelType: ModelType.functionGemma, fileType: ModelFileType.task)
    .fromFile('/path/to/{file}').install();

final model = await FlutterEdgeAi.getActiveModel(maxTokens: {cache});
final chat = await model.createChat(tools: tools, supportsFunctionCalls: true, modelType: ModelType.functionGemma, topK: 1);
await chat.addQueryChunk(Message(text: 'what a user of your app says', isUser: true));
switch (await chat.generateChatResponse()) {
  case FunctionCallResponse(:final name, :final args):
    print('$name $args');
  case ParallelFunctionCallResponse(:final calls):
    for (final call in calls) { print('${call.name} ${call.args}'); }
  case TextResponse(:final token):
    print(token);
  case ThinkingResponse():
    break;
}
'''

MEDIAPIPE = '''// implementation("com.google.mediapipe:tasks-genai:0.10.27") - this file writes the turns around what you send
val options = LlmInference.LlmInferenceOptions.builder().setModelPath("/path/to/{file}").setMaxTokens({cache}).build()
val answer = LlmInference.createFromOptions(context, options).generateResponse(declarationsAndRequest)
'''

TFLITE = '''# pip install ai-edge-litert - the model alone, without tokenizer: signatures prefill_<length> and decode
from ai_edge_litert.interpreter import Interpreter

print(Interpreter("{file}").get_signature_list())
'''

LLAMA_CPP = '''# The whole prompt, control tokens included. For Ollama: ollama create NAME -f Modelfile, then "raw": true with each request.
llama-cli -m {file} --special -no-cnv --temp 0 -f prompt.txt
'''

ASK = '''messages = [
    {"role": "developer", "content": "You are a model that can do function calling with the following functions"},
    {"role": "user", "content": "what a user of your app says"},
]
inputs = tokenizer.apply_chat_template(
    messages, tools=json.load(open("tools.json")), add_generation_prompt=True, return_tensors="pt", return_dict=True
)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=128)[0][inputs["input_ids"].shape[1] :]))
'''

TRANSFORMERS = '''# pip install torch transformers - if it came as an archive, unpack that first
import json
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("{file}"), AutoModelForCausalLM.from_pretrained("{file}")
''' + ASK

PEFT = '''# pip install torch transformers peft - if it came as an archive, unpack that first
import json
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = {"pretrained_model_name_or_path": "{base}", "revision": "{revision}"}
tokenizer = AutoTokenizer.from_pretrained(**base)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(**base), "{file}")
''' + ASK

SNIPPETS = {
    "litertlm": ("python", LITERT_LM),
    "task": ("dart", FLUTTER),
    "tflite": ("python", TFLITE),
    "gguf": ("shell", LLAMA_CPP),
    "merged": ("python", TRANSFORMERS),
    "adapter": ("python", PEFT),
}
"""Format -> (language of the snippet, the snippet)."""
EMBEDDED_FOLDER = "pipeline/base/checkpoint"
"""Where the embedded base lies in this project: it is on no Hub."""


def language(artifact: Artifact) -> str:
    """The language of an artifact's snippet, as Markdown and editors name it."""
    return "kotlin" if artifact.details.get("wrap_turns") else SNIPPETS[artifact.format][0]


def snippet(artifact: Artifact) -> str:
    """How an app loads this file: the snippet of its format with its name, its length and, for an adapter, its base."""
    details = artifact.details
    text = MEDIAPIPE if details.get("wrap_turns") else SNIPPETS[artifact.format][1]
    base = details.get("base_model_name_or_path") or ""
    values = {
        "file": Path(artifact.path).name, "cache": str(details.get("cache_length", 1024)),
        "base": EMBEDDED_FOLDER if base == "embedded" else base, "revision": details.get("revision") or "main",
    }  # fmt: skip
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text
