"""The optional second reader of a .gguf. llama.cpp itself is not needed here: a stand-in speaks the protocol of its server.

The real one, as llama-cpp-python 0.3.36, was tried by hand: of 20 answers of a tuned model 20 alike in F16 and 19 in Q8_0. What is tested
here is our side: what the server is asked, what becomes of its answers, and that nothing of it stays behind.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pipeline import llamacpp
from pipeline.errors import ExportError, PipelineError
from pipeline.export import gguf
from pipeline.export.verify import Answer

PROMPTS = ["<bos><start_of_turn>user\nred<end_of_turn>\n", "<bos><start_of_turn>user\nblue<end_of_turn>\n"]
CALL = "<start_function_call>call:a{}<end_function_call>"
SERVER = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self):
        self.answer(200 if Handler.asked else 503, {{}})  # it loads at first
        Handler.asked += 1

    def do_POST(self):
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        wanted["known"] = self.headers["Authorization"] == "Bearer " + os.environ["LLAMA_API_KEY"]
        wanted["token"] = os.environ.get("HF_TOKEN")
        with open({log!r}, "a") as log:
            log.write(json.dumps(wanted) + "\\n")
        self.answer({status}, {{"content": {content!r}}})

    def answer(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *words):
        pass

if "--version" in sys.argv:
    print("version: 7 (abc)")
elif {broken}:
    sys.exit("error: unknown model architecture: 'gemma3'")
else:
    HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Puts a stand-in for llama-server on the PATH; returns the file that it writes requests to."""
    monkeypatch.setattr(llamacpp, "PACKAGE", "no_such_package")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def make(content: str = CALL + "<start_function_response>", status: int = 200, broken: bool = False) -> Path:
        log, program = tmp_path / "asked.jsonl", tmp_path / llamacpp.PROGRAM
        program.write_text(SERVER.format(python=sys.executable, log=str(log), content=content, status=status, broken=broken))
        program.chmod(0o755)
        return log

    return make


def ask(path: Path) -> list[str]:
    return llamacpp.work({"path": str(path), "prompts": PROMPTS, "max_new_tokens": 9}, lambda fraction, message: None)["answers"]


def test_it_is_found_only_where_it_is(server, monkeypatch, tmp_path):
    server()
    assert llamacpp.installed() == "llama-server 7 (abc)"
    (tmp_path / llamacpp.PROGRAM).write_text("no program")
    assert llamacpp.installed() == "llama-server", "what is wrong with it is said where it is asked"
    monkeypatch.setenv("PATH", "")
    assert llamacpp.installed() is None
    assert gguf.second_opinion(None, tmp_path / "a.gguf", [], [], 9, lambda *_: None) == {}


def test_it_is_asked_in_text_without_the_start_that_it_writes_itself(server, tmp_path, monkeypatch):
    log = server()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert ask(tmp_path / "a.gguf") == [CALL, CALL]
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    assert [one["prompt"] for one in asked] == [prompt.removeprefix("<bos>") for prompt in PROMPTS]
    assert {(one["n_predict"], one["temperature"], one["top_k"]) for one in asked} == {(9, 0, 1)}
    assert {(one["known"], one["token"]) for one in asked} == {(True, None)}, "no other server answers, and no token goes to it"
    assert not [one for one in psutil.process_iter(["cmdline"]) if any(str(tmp_path) in word for word in one.info["cmdline"] or ())], "it was ended"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"broken": True}, "llama-server cannot open a.gguf .*unknown model architecture: 'gemma3'"), ({"status": 500}, "does not answer .*500")],
)
def test_what_it_cannot_do_is_a_sentence(server, tmp_path, options, sentence):
    server(**options)
    with pytest.raises(ExportError, match=sentence):
        ask(tmp_path / "a.gguf")


ROWS = [SimpleNamespace(prompt=prompt, completion=CALL + "<start_function_response>", example=SimpleNamespace(request="red")) for prompt in PROMPTS]
OURS = [Answer(CALL, [1], True)] * 2


def opinion(monkeypatch, answers):
    monkeypatch.setattr(llamacpp, "installed", lambda: "llama-server 7")
    monkeypatch.setattr(llamacpp, "answers", answers)
    monkeypatch.setattr(gguf.verify.child, "run", lambda *_: {"ratios": [0.01, 0.01]})
    return gguf.second_opinion(SimpleNamespace(checkpoint=Path()), Path("a.gguf"), ROWS, OURS, 9, lambda *_: None)


def test_its_answers_are_reported(monkeypatch):
    found = opinion(monkeypatch, lambda *_: [CALL, CALL])["llama_cpp"]
    assert (found["with"], found["identical"], found["total"]) == ("llama-server 7", 2, 2)


def test_a_file_that_it_reads_otherwise_is_not_offered(monkeypatch):
    with pytest.raises(ExportError, match=r"a\.gguf in llama\.cpp did not pass: 2 of 2 answers differ"):
        opinion(monkeypatch, lambda *_: ["nonsense", "nonsense"])


def test_a_version_that_cannot_run_the_file_is_reported_and_no_reason_to_refuse_it(monkeypatch):
    def fails(*_):
        raise PipelineError("llama-server cannot open a.gguf (unknown architecture).")

    assert opinion(monkeypatch, fails)["llama_cpp"] == {"with": "llama-server 7", "problem": "llama-server cannot open a.gguf (unknown architecture)."}
