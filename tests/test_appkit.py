"""The app kit: what is in it, that its Python and JavaScript readers give what the golden vectors say, and that both read as strictly as is promised."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import dataset as datasets
from pipeline.cli import main
from pipeline.errors import ExportError
from pipeline.examples import ToolDataset, example
from pipeline.export import appkit
from pipeline.export.appkit import literals, vectors
from pipeline.export.appkit.templates import functiongemma as reader
from pipeline.export.source import Source
from pipeline.functiongemma import START_RESPONSE, call_text, parse, render_prompt
from pipeline.tools import CONTROL_TOKENS, ToolCall, ToolSpec, tools_from_json
from tests.appkit_world import NAMES, ROOT, TEMPLATES, broken_replies, hostile_dataset, node, untrained_run
from tests.tuned_world import small_dataset


def kit_of(data: ToolDataset, out: Path, name: str = "app") -> Path:
    return Path(appkit.write(Source(Path("nowhere"), data, name), out).path)


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    return kit_of(small_dataset(), tmp_path_factory.mktemp("kit"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    return kit_of(hostile_dataset(), tmp_path_factory.mktemp("hostile"))


# -- what is in it


def test_five_languages_and_a_readme_of_twenty_lines(kit):
    files = {str(file.relative_to(kit)) for file in kit.rglob("*") if file.is_file()}
    assert files == {
        "README.md", "tools.json", "vectors.json",
        "dart/function_gemma.dart", "dart/check.dart", "dart/tools.dart",
        "kotlin/FunctionGemma.kt", "kotlin/LiteRtLm.kt", "kotlin/Check.kt", "kotlin/Tools.kt",
        "swift/FunctionGemma.swift", "swift/Tools.swift", "swift/check/main.swift",
        "javascript/functiongemma.mjs", "javascript/tools.mjs", "javascript/check.mjs",
        "python/functiongemma.py", "python/tools.py",
    }  # fmt: skip
    readme = (kit / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 20 and readme.startswith("# app-app-kit\n") and "Your developer's text" not in readme
    assert not any("@@" in file.read_text("utf-8") for file in kit.rglob("*") if file.is_file())
    assert tools_from_json((kit / "tools.json").read_text("utf-8")) == list(small_dataset().tools)


def test_a_developer_who_says_something_else_is_told_what_that_means(hostile):
    readme = (hostile / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 20 and "**Your developer's text** is not FunctionGemma's usual sentence" in readme


def test_the_zip_is_the_folder_and_the_same_every_time(kit, tmp_path):
    first = appkit.write(Source(Path("nowhere"), small_dataset(), "app"), tmp_path)
    again = appkit.write(Source(Path("nowhere"), small_dataset(), "app"), tmp_path)
    assert first == again and first.sha256 == hashlib.sha256(Path(first.archive).read_bytes()).hexdigest()
    assert first.size == Path(first.archive).stat().st_size and first.unread == 0
    with zipfile.ZipFile(first.archive) as archive:
        inside = {name.removeprefix("app-app-kit/"): archive.read(name) for name in archive.namelist()}
    assert inside == {str(file.relative_to(kit)): file.read_bytes() for file in kit.rglob("*") if file.is_file()}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["app-app-kit", "app-app-kit.zip"]


def test_a_dataset_without_tools_is_refused(tmp_path):
    with pytest.raises(ExportError, match="this dataset has none of its own; add its tools first"):
        kit_of(ToolDataset((), (example("hello", reply="hi"),)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_rows_that_the_readers_refuse_are_counted_and_left_out(tmp_path):
    big = example("count", [ToolCall("set_color", {"color": "red", "n": 2**64})], split="test")
    made = appkit.write(Source(Path("nowhere"), ToolDataset(small_dataset().tools, (big,)), "app"), tmp_path)
    assert made.unread == 1 and "1 held-out replies are none that the readers take" in made.sentence


def test_the_command_line_makes_the_same_kit(tmp_path, capsys):
    run = untrained_run(tmp_path / "run")
    assert main(["export", str(run.path), "--format", "appkit", "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out.splitlines()[-1])["artifacts"]
    assert made["format"] == "appkit" and made["verified"] and made["path"] == str(run.artifacts_path / "my-app-app-kit")
    assert made["sha256"] == appkit.write(run).sha256
    assert main(["export", str(run.path), "--format", "appkit", "--quantize", "int8"]) == 1
    assert "An app kit is source code: leave --quantize out." in capsys.readouterr().err


# -- golden vectors


def test_rows_of_the_dataset_come_first_with_their_prompts(kit):
    golden = json.loads((kit / "vectors.json").read_text("utf-8"))
    rows = Source(Path("nowhere"), small_dataset(), "app").requests(20)
    shown = [vector for vector in golden["vectors"] if "prompt" in vector]
    assert [(vector["prompt"], vector["reply"]) for vector in shown] == [(row.prompt, row.completion) for row in rows]
    assert [vector["calls"] for vector in shown] == [[call.to_json() for call in row.example.calls] for row in rows]
    assert all("request" in vector for vector in shown)


def test_a_prompt_is_put_together_byte_for_byte_whatever_the_developer_says():
    tools = small_dataset().tools
    for developer, request in [("", " hello "), ("Today is Monday.\n", "\u3000x\x1f"), ("a\ufeff", "\ufeffb\x85")]:
        first = [{"role": "developer", "content": developer}] if developer else []
        whole = render_prompt([*first, {"role": "user", "content": request}], tools, add_generation_prompt=True)
        assert reader.render_prompt(request, developer, vectors.declarations(tools)) == whole


def test_a_request_that_spells_a_control_token_is_refused():
    with pytest.raises(ValueError, match="spells the control token <end_of_turn>"):
        reader.render_prompt("hi<end_of_turn>", "", "")


def test_a_row_with_tools_of_its_own_or_more_turns_has_its_prompt_only():
    own = replace(example("go", [ToolCall("other", {})], split="test"), tools=(ToolSpec("other", "Another"),))
    longer = example("go", [ToolCall("set_color", {"color": "red"})], split="test")
    longer = replace(longer, messages=({"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}, *longer.messages[1:]))
    data = ToolDataset(small_dataset().tools, (own, longer))
    golden = vectors.golden(Source(Path("nowhere"), data, "x").rows, data.tools, "")
    assert ["request" in vector for vector in golden["vectors"][:2]] == [False, False]


def test_the_hand_written_vectors_agree_with_the_projects_own_parser():
    """Where it finds nothing to repair they say the same; what they call broken it repairs, refuses or reports, and never calls whole."""
    for vector in vectors.golden([], small_dataset().tools, "")["vectors"]:
        reply = parse(vector["reply"])
        calls = [{"name": call.name, "arguments": call.arguments} for call in reply.calls]
        whole = not reply.diagnostics and all(set(call.diagnostics) <= {"missing_end_tag"} for call in reply.calls)
        if not vector["errors"]:
            assert whole and (calls, reply.text) == (vector["calls"], vector["text"]), vector["name"]
        elif "blank before the name" not in vector["name"] and "64 bits" not in vector["name"]:  # the two in which the kit is stricter
            assert not whole and calls[: len(vector["calls"])] == vector["calls"], vector["name"]
            codes = {diagnostic.code for diagnostic in reply.diagnostics}
            assert not codes or vector["errors"][0]["code"] in codes, vector["name"]


def test_places_count_characters_and_utf16_units():
    found = {vector["name"]: vector["errors"] for vector in vectors.golden([], small_dataset().tools, "")["vectors"]}
    (error,) = found["cut behind a letter beyond 16 bits"]
    assert error["at_utf16"] == error["at"] + 1
    assert not any(vectors.PLACE in vector["reply"] for vector in vectors.golden([], small_dataset().tools, "")["vectors"])


# -- the readers


@pytest.mark.parametrize("file", [file for file in TEMPLATES.iterdir() if "unction" in file.name], ids=lambda file: file.name)
def test_every_reader_knows_the_control_tokens(file):
    text = file.read_text("utf-8")
    listed = text[text.index('"<bos>", "<eos>"' if '"<bos>", "<eos>"' in text else "'<bos>', '<eos>'") :]
    quote = listed[0]
    listed = listed[: listed.index(f"{quote}<mask>{quote}") + 8]
    assert tuple(listed.replace(quote, "").replace("\n", " ").replace(",", " ").split()) == CONTROL_TOKENS


def test_the_python_reader_runs_the_vectors_on_its_own(kit, hostile):
    for folder in (kit, hostile):
        command = [sys.executable, "-I", "-S", "python/functiongemma.py", "vectors.json"]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
        assert (ran.returncode, ran.stderr) == (0, "") and ran.stdout.split()[0] == ran.stdout.split()[2]


def test_the_javascript_reader_runs_the_vectors_in_node(kit, hostile):
    for folder in (kit, hostile):
        ran = subprocess.run([node(), "javascript/check.mjs", "vectors.json"], cwd=folder, capture_output=True, text=True, timeout=240)
        assert (ran.returncode, ran.stderr) == (0, "") and ran.stdout.split()[0] == ran.stdout.split()[2]


def test_a_check_that_fails_says_which(kit, tmp_path):
    shutil.copytree(kit, tmp_path / "kit")
    golden = json.loads((kit / "vectors.json").read_text("utf-8"))
    golden["vectors"][0]["text"] = "something else"
    (tmp_path / "kit" / "vectors.json").write_text(json.dumps(golden), "utf-8")
    for command in ([sys.executable, "python/functiongemma.py"], [node(), "javascript/check.mjs"]):
        ran = subprocess.run([*command, "vectors.json"], cwd=tmp_path / "kit", capture_output=True, text=True, timeout=240)
        assert ran.returncode == 1 and ran.stdout.splitlines()[1:] == ["row 1"]


KEYS = st.text(st.characters(exclude_categories=["Cs", "Z", "C"], exclude_characters=':,{}[]<"'), min_size=1, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: "<escape>" not in text),  # which no call can carry
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.\-]{0,12}", fullmatch=True), st.dictionaries(KEYS, JSON, max_size=4)), min_size=1, max_size=3))
def test_what_the_template_writes_is_read_back_with_its_types(calls):
    text = call_text([ToolCall(*call) for call in calls])
    reply = reader.parse(text + START_RESPONSE)
    assert (reply.text, reply.errors) == ("", [])
    found = json.dumps([[call.name, call.arguments] for call in reply.calls], sort_keys=True)
    assert found == json.dumps([list(call) for call in calls], sort_keys=True)


def test_a_call_is_given_only_where_the_projects_own_parser_has_nothing_to_repair():
    """So nothing is guessed: over broken replies of every kind, the calls are the first of its calls, each one whole."""
    given_calls = errors = 0
    for text in broken_replies(6000):
        strict, full = reader.parse(text), parse(text)
        found = [(call.name, repr(call.arguments)) for call in strict.calls]
        whole = [(call.name, repr(call.arguments)) for call in full.calls if set(call.diagnostics) <= {"missing_end_tag"}]
        every = [(call.name, repr(call.arguments)) for call in full.calls]
        assert found == every[: len(found)] == whole[: len(found)], text
        if not strict.errors:
            assert (found, strict.text, full.diagnostics) == (every, full.text, ()), text
        assert all(0 <= error.at <= len(text) for error in strict.errors), text
        given_calls, errors = given_calls + len(found), errors + len(strict.errors)
    assert given_calls > 500 and errors > 3000  # the replies are neither all broken nor all whole


def test_javascript_and_python_read_alike(kit, tmp_path):
    replies = broken_replies(3000, seed=2)
    wanted = []
    for text in replies:
        reply = reader.parse(text)
        calls = [[call.name, call.arguments] for call in reply.calls]
        errors = [[error.code, len(text[: error.at].encode("utf-16-le")) // 2, error.expected, error.raw] for error in reply.errors]
        wanted.append([reply.text, calls, errors])
    (tmp_path / "replies.json").write_text(json.dumps(replies), "utf-8")
    program = f"""
        import {{ parse }} from {json.dumps((kit / "javascript/functiongemma.mjs").as_uri())};
        import {{ readFileSync }} from "node:fs";
        const read = JSON.parse(readFileSync({json.dumps(str(tmp_path / "replies.json"))}, "utf-8")).map(parse);
        const plain = read.map(({{ text, calls, errors }}) =>
          [text, calls.map((c) => [c.name, c.arguments]), errors.map((e) => [e.code, e.at, e.expected, e.raw])]);
        console.log(JSON.stringify(plain, (key, value) => typeof value === "bigint" ? Number(value) : value));
    """
    ran = subprocess.run([node(), "--input-type=module", "-e", program], capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    for text, found, expected in zip(replies, json.loads(ran.stdout), wanted, strict=True):
        assert found == expected, text  # 2 == 2.0 here: JavaScript has one kind of number


@pytest.mark.parametrize(
    "text",
    ["<" * 200_000, "<start_function_call>call:f{a:" + "<" * 200_000, "<start_function_call>call:f{a:<escape>" * 5_000,
     "<start_function_call>call:f{a:" + "[" * 200_000, "<start_function_call>call:f{" + "a:1," * 50_000,
     "<start_function_call>call:f{}<end_function_call>" * 4_000, "call:f{a:" + "1" * 200_000, " " * 200_000 + "call:", "<escape>" * 30_000],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_long_replies_take_time_in_proportion(text, kit, tmp_path):
    """A quadratic reader would compute for minutes; this one does for a second."""
    reader.parse(text)
    (tmp_path / "reply.txt").write_text(text, "utf-8")
    module = json.dumps((kit / "javascript/functiongemma.mjs").as_uri())
    program = f'const {{ parse }} = await import({module}); parse((await import("node:fs")).readFileSync({json.dumps(str(tmp_path / "reply.txt"))}, "utf-8"));'
    program += "const { user, system } = process.cpuUsage(); console.log((user + system) / 1e6);"
    ran = subprocess.run([node(), "--input-type=module", "-e", program], check=True, capture_output=True, text=True, timeout=240)
    assert float(ran.stdout) < 20, "seconds of computing"


# -- other people's text


def test_hostile_text_comes_back_from_the_python_and_javascript_files(hostile):
    wanted = json.loads((hostile / "tools.json").read_text("utf-8"))
    golden = json.loads((hostile / "vectors.json").read_text("utf-8"))
    constants = {name: tool["function"]["name"] for name, tool in zip(literals.constants(NAMES), wanted, strict=True)}
    program = "import json, tools; print(json.dumps([tools.TOOLS, tools.DEVELOPER, tools.DECLARATIONS, {k: v for k, v in vars(tools.ToolName).items() if k[0] != '_'}, tools.prompt('go')]))"
    ran = subprocess.run([sys.executable, "-c", program], cwd=hostile / "python", capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    tools, developer, declarations, names, prompt = json.loads(ran.stdout)
    assert (tools, developer, declarations, names) == (wanted, golden["developer"], golden["declarations"], constants)
    script = 'import * as kit from "./tools.mjs"; console.log(JSON.stringify([kit.tools, kit.developer, kit.declarations, kit.ToolName, kit.prompt("go"), globalThis.hacked ?? null]))'
    ran = subprocess.run([node(), "--input-type=module", "-e", script], cwd=hostile / "javascript", capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [wanted, developer, declarations, constants, prompt, None]


def test_the_sample_projects_kit(tmp_path):
    data = datasets.split(datasets.load(ROOT / "pipeline" / "samples"))
    made = appkit.write(Source(Path("nowhere"), data, "sample"), tmp_path)
    assert made.unread == 0 and made.vectors > 80
