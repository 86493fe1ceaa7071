"""A model in a process of its own: an exported file or a checkpoint answers there, and what goes wrong there stays there."""

from __future__ import annotations

import os
import signal
import tempfile

import pytest

from pipeline import runtimes
from pipeline.engine import Engine
from pipeline.errors import ExportError, ModelError, PipelineError
from pipeline.examples import conversation
from pipeline.functiongemma import parse, render_prompt
from pipeline.hub.demo import file_of
from pipeline.serving import Served
from pipeline.ui import answers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def file(exported_run) -> str:
    return file_of(exported_run).path


@pytest.fixture(scope="module")
def prompts(exported_run) -> list[str]:
    dataset = exported_run.dataset()
    tools = [tool.to_json() for tool in dataset.tools]
    return [render_prompt(conversation(row.request, dataset), tools, True) for row in dataset.examples]


def test_an_engine_gives_the_answers_of_the_checked_file(file, prompts):
    engine = Engine(file, 1024)
    said = [engine.answer(prompt) for prompt in prompts]
    assert [one.text for one in said] == runtimes.answers(file, prompts)
    assert all(one.stopped and 0 < one.first <= one.seconds and one.tokens > 1 for one in said)
    cut = engine.answer(prompts[0], 3)
    assert (cut.tokens, cut.stopped) == (3, False) and said[0].text.startswith(cut.text)
    with pytest.raises(PipelineError, match=r"makes [\d,]+ tokens, and the model reads 1,024. Shorten it"):
        engine.answer(prompts[0] * 10)
    engine.close()


def test_both_kinds_of_model_answer_alike(file, exported_run, prompts):
    found = []
    for path in (file, exported_run.model_path):
        served = Served(path)
        found.append([parse(served.answer(prompt).text).calls[:1] for prompt in prompts[:3]])
        served.close()
        assert not served.alive
    assert [[call.arguments for call in calls] for calls in found[0]] == [[call.arguments for call in calls] for calls in found[1]]


def test_what_the_runtime_writes_for_itself_goes_with_the_process(file, prompts, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    served = Served(file)
    served.answer(prompts[0])
    assert any(path.is_file() for path in tmp_path.rglob("*")), "LiteRT-LM keeps what it has compiled"
    served.close()
    assert not list(tmp_path.iterdir())


def test_a_process_that_dies_is_a_sentence_and_the_next_request_starts_another(file, prompts, monkeypatch):
    monkeypatch.setattr(answers, "_served", type(answers._served)())
    first = answers.written(file, prompts[0])
    served = answers.served(file)
    os.kill(served._child.pid, signal.SIGSEGV)
    served._child.wait()
    with pytest.raises(ModelError, match="has ended: it is damaged, or memory ran out"):
        served.answer(prompts[0])
    assert answers.written(file, prompts[0]).text == first.text
    assert answers.served(file) is not served
    answers.served(file).close()


def test_few_processes_are_kept_and_the_least_used_is_ended(file, prompts, tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "_served", type(answers._served)())
    files = [tmp_path / f"{number}.litertlm" for number in range(answers.KEPT_SERVED + 1)]
    for one in files:
        os.link(file, one)
    kept = [answers.served(one) for one in files[:-1]]
    assert answers.served(files[0]) is kept[0]
    last = answers.served(files[-1])
    assert kept[0].alive and last.alive and not kept[1].alive
    kept[0].close()
    last.close()


def test_a_file_that_takes_for_ever_is_stopped(file, prompts):
    with pytest.raises(ModelError, match="took more than 0 s to be opened, and was stopped"):
        Served(file, opening=0.001)
    served = Served(file)
    os.kill(served._child.pid, signal.SIGSTOP)
    with pytest.raises(ModelError, match="took more than 0 s to be asked"):
        served.answer(prompts[0], within=0.0)
    assert not served.alive


def test_no_token_of_the_hub_goes_into_it(file, monkeypatch):
    for name in ("HF_TOKEN", "OAUTH_CLIENT_SECRET"):
        monkeypatch.setenv(name, "hf_canary")
    served = Served(file)
    with open(f"/proc/{served._child.pid}/environ", "rb") as stream:
        assert b"hf_canary" not in stream.read()
    served.close()


@pytest.mark.parametrize("name", ["broken.litertlm", "folder"])
def test_what_is_no_model_is_a_sentence(tmp_path, name):
    if name == "folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"LITERTLM" + b"\0" * 100)
    with pytest.raises(PipelineError):
        Served(tmp_path / name)


def test_an_engine_says_what_it_cannot_open(tmp_path):
    (tmp_path / "x.litertlm").write_bytes(b"LITERTLM" + b"\0" * 100)
    with pytest.raises(ExportError, match=r"LiteRT-LM cannot open x\.litertlm"):
        Engine(tmp_path / "x.litertlm", 1024)
