"""`import` and `lint` on the command line: what becomes of files of rows, what is said of them, and where the next command leads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import cli
from pipeline import dataset as datasets

ROOT = Path(__file__).resolve().parent.parent
TOOLS = [
    {"name": "set_light", "description": "Switch a light", "parameters": {
        "type": "object", "properties": {"room": {"type": "string"}, "on": {"type": "boolean"}}, "required": ["room"]}},
    {"name": "set_timer", "description": "Start a timer", "parameters": {
        "type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]}},
]  # fmt: skip


def row(request: str, name: str, arguments: dict) -> dict:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"messages": [{"role": "user", "content": request}, {"role": "assistant", "tool_calls": [call]}]}


@pytest.fixture
def world(tmp_path: Path, monkeypatch) -> Path:
    """A folder with tools.json and rows.jsonl, which is where the commands run."""
    rows = [row(f"start a timer for {n} minutes", "set_timer", {"minutes": n}) for n in range(1, 13)]
    rows += [row(f"light up the {room}", "set_light", {"room": room, "on": True}) for room in ("hall", "attic", "kitchen", "cellar")]
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS), "utf-8")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# ---------------------------------------------------------------------------------------------------------------- import


def test_import_writes_the_three_files_and_counts_every_row(world, capsys):
    with (world / "rows.jsonl").open("a", encoding="utf-8") as rows:
        rows.write(json.dumps({"messages": [{"role": "user", "content": "nobody answers"}]}) + "\n")
    assert cli.main(["import", "rows.jsonl", "--tools", "tools.json", "--out", "data", "--json"]) == cli.DONE
    said = json.loads(capsys.readouterr().out)
    assert everything_in(world / "data") == {"tools.json", "examples.jsonl", "report.json"}
    assert (said["read"], said["imported"], said["refused"]) == (17, 16, 1)
    assert said["examples"] == 16 and said["tools"] == 2
    assert json.loads((world / "data" / "report.json").read_text("utf-8"))["imported"] == 16
    assert not list(world.glob(".*partial"))


def test_several_files_become_one_dataset(world, capsys):
    (world / "more.jsonl").write_text(json.dumps(row("tea for 4 minutes", "set_timer", {"minutes": 4})) + "\n", "utf-8")
    assert cli.main(["import", "rows.jsonl", "more.jsonl", "--tools", "tools.json", "--out", "data", "--json"]) == cli.DONE
    said = json.loads(capsys.readouterr().out)
    assert said["examples"] == said["imported"] == 17
    assert [file["imported"] for file in said["files"]] == [16, 1]


def test_importing_again_replaces_the_dataset_and_nothing_else(world, capsys):
    words = ["import", "rows.jsonl", "--tools", "tools.json", "--out", "data"]
    assert cli.main(words) == cli.DONE
    before = (world / "data" / "examples.jsonl").read_bytes()
    (world / "data" / "notes.txt").write_text("mine", "utf-8")
    assert cli.main(words) == cli.DONE
    assert (world / "data" / "examples.jsonl").read_bytes() == before
    assert (world / "data" / "notes.txt").read_text("utf-8") == "mine"


def test_an_import_that_is_killed_never_mixes_old_tools_with_new_rows(world, monkeypatch):
    """Wherever the process ends among the renames: what is loaded is the old dataset or the new."""
    other = [{**tool, "description": "Another"} for tool in TOOLS]
    (world / "other.json").write_text(json.dumps(other), "utf-8")
    (world / "more.jsonl").write_text(json.dumps(row("tea for 4 minutes", "set_timer", {"minutes": 4})) + "\n", "utf-8")

    def words(rows, tools, out):
        return ["import", rows, "--tools", tools, "--out", out]

    assert cli.main(words("more.jsonl", "other.json", "new")) == cli.DONE
    old, new, found = None, datasets.load(world / "new"), []
    rename, replace = os.rename, os.replace
    for steps in range(12):
        monkeypatch.undo()
        monkeypatch.chdir(world)
        assert cli.main(words("rows.jsonl", "tools.json", "data")) == cli.DONE
        old = datasets.load(world / "data")
        left = [steps]

        def last_breath(do, left=left):
            def step(*paths):
                if not left[0]:
                    raise OSError(5, "killed")
                left[0] -= 1
                return do(*paths)

            return step

        monkeypatch.setattr(os, "rename", last_breath(rename))
        monkeypatch.setattr(os, "replace", last_breath(replace))
        done = cli.main(words("more.jsonl", "other.json", "data")) == cli.DONE
        monkeypatch.undo()
        monkeypatch.chdir(world)
        found.append(datasets.load(world / "data"))
        assert found[-1] in (old, new) and (not done or found[-1] == new)
        assert everything_in(world / "data") == {"tools.json", "examples.jsonl", "report.json"}
    assert found[0] == old and found[-1] == new and found == sorted(found, key=lambda one: one == new)


def test_lint_lists_everything_and_fails_on_what_blocks_training(world, capsys):
    bad = [row("switch", "no_such_tool", {}), row("timer", "set_timer", {"minutes": "two"}), row("tea", "set_timer", {"minutes": 3})]
    (world / "data").mkdir()
    (world / "data" / "tools.json").write_text(json.dumps(TOOLS), "utf-8")
    (world / "data" / "examples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in bad), "utf-8")
    assert cli.main(["lint", "data", "--json"]) == cli.FAILED
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert said["errors"] == 2 and {issue["row"] for issue in said["issues"] if issue["severity"] == "error"} == {1, 2}
    assert "2 problems in data must be fixed before training" in err


def test_lint_of_a_clean_dataset_is_a_success(world, capsys):
    assert cli.main(["import", "rows.jsonl", "--tools", "tools.json", "--out", "data"]) == cli.DONE
    capsys.readouterr()
    assert cli.main(["lint", "data", "--json"]) == cli.DONE
    said = json.loads(capsys.readouterr().out)
    assert said["errors"] == 0 and said["statistics"]["rows"] == 16


# ---------------------------------------------------------------------------------------------------------------- around them


def test_the_next_command_can_be_copied(world, capsys):
    assert cli.main(["import", "rows.jsonl", "--tools", "tools.json", "--out", "my data"]) == 0
    assert capsys.readouterr().out.endswith("next: python -m pipeline lint 'my data'\n")


def test_the_root_of_the_disk_is_no_dataset(world, capsys):
    assert cli.main(["import", "rows.jsonl", "--tools", "tools.json", "--out", "/"]) == 1
    assert "--out must be a folder of its own" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_defect(world):
    """`... --help | true` and the like: no traceback, whatever the exit status."""
    ran = subprocess.run(
        f"{sys.executable} -m pipeline import rows.jsonl --tools tools.json --out data --json | true",
        shell=True, cwd=world, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in ran.stderr and "Exception" not in ran.stderr
