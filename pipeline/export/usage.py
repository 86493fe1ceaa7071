"""How an app loads each kind of file: a snippet a format, `{file}` stands for its name.

Written after the runtimes' own guides of August 2026. Those in Python have been run (tests/test_export.py runs the first), Dart and shell
have not.
"""

from __future__ import annotations

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

FLUTTER_GEMMA = '''// flutter pub add flutter_gemma
await FlutterGemma.initialize();
await FlutterGemma.installModel(modelType: ModelType.functionGemma).fromFile('/path/to/{file}').install();

final model = await FlutterGemma.getActiveModel(maxTokens: 1024);
final chat = await model.createChat(tools: tools, supportsFunctionCalls: true, modelType: ModelType.functionGemma, topK: 1);
await chat.addQueryChunk(Message.text(text: 'what a user of your app says', isUser: true));
final answer = await chat.generateChatResponse();
if (answer is FunctionCallResponse) print('${answer.name} ${answer.args}');
'''

TFLITE = '''# pip install ai-edge-litert - the model alone, without tokenizer: signatures prefill_<length> and decode
from ai_edge_litert.interpreter import Interpreter

print(Interpreter("{file}").get_signature_list())
'''

LLAMA_CPP = '''# The whole prompt, control tokens included. For Ollama: ollama create NAME -f Modelfile, then "raw": true with each request.
llama-cli -m {file} --special -no-cnv --temp 0 -f prompt.txt
'''

TRANSFORMERS = '''# pip install torch transformers - if it came as an archive, unpack that first
import json
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("{file}"), AutoModelForCausalLM.from_pretrained("{file}")
messages = [
    {"role": "developer", "content": "You are a model that can do function calling with the following functions"},
    {"role": "user", "content": "what a user of your app says"},
]
inputs = tokenizer.apply_chat_template(
    messages, tools=json.load(open("tools.json")), add_generation_prompt=True, return_tensors="pt", return_dict=True
)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=128)[0][inputs["input_ids"].shape[1] :]))
'''

SNIPPETS = {
    "litertlm": ("python", LITERT_LM),
    "task": ("dart", FLUTTER_GEMMA),
    "tflite": ("python", TFLITE),
    "gguf": ("shell", LLAMA_CPP),
    "merged": ("python", TRANSFORMERS),
}
"""Format -> (language of the snippet, the snippet)."""


def snippet(format: str, file: str) -> str:
    """The snippet of a format for the file of that name."""
    return SNIPPETS[format][1].replace("{file}", file)
