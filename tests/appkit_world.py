"""What the tests of the app kit stand on: hostile tools, broken replies by the thousand, and node, which runs JavaScript."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from pipeline import dataset as datasets
from pipeline.config import TrainConfig
from pipeline.dataset import ToolDataset, example
from pipeline.runs import Run
from pipeline.tools import ToolCall, ToolSpec
from tests.tuned_world import small_dataset

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "pipeline" / "export" / "appkit" / "templates"
HOSTILE = (
    'say "hi"', "it's", "back\\slash\\", "${globalThis.hacked = 1}", "$x ${y} $$", "\\(exit(1)) \\u{41} \\n \\", "*/ // # /* {- -}",
    '""" \'\'\' ``` r"', "line\nfeed\r\n\ttab", "\u2028\u2029\x85\x00\x1b\x7f", "\u202ereversed\u2066", "</script><!-- <script>", "@@TOOLS@@ @@NAMES@@",
    "👩‍👩‍👧 𝔘 \U0001f1e9\U0001f1ea e\u0301 שלום ﷽", "<escape> <end_of_turn>", "%s {0} #{x} `whoami` $(id)", "a" * 9000 + '"${', "",
)  # fmt: skip
NAMES = (
    "class", "switch", "default", "in", "is", "init", "self", "enum", "import", "None", "true", "__proto__", "constructor", "toString", "values", "name",
    "set_light", "setLight", "SET-LIGHT", "set.light", "_", "__", "1st", "été", "设置", "a\"b'c$d\\(e)", "*/", "@@TOOLS@@",
)  # fmt: skip
_A, _Z, _E = "<start_function_call>", "<end_function_call>", "<escape>"
_WHOLE = (
    f"{_A}call:f{{a:1,b:{_E}x{_E},c:[1,{{k:{_E}v{_E}}}]}}{_Z}",
    f"{_A}call:g{{}}{_Z}{_A}call:h{{z:2.0}}{_Z}<start_function_response>",
    f"Sure.{_A}call:é.b-c{{größe:{_E}👍 }},{_E},n:-1e-05,on:true,none:None}}{_Z}<end_of_turn>",
)
_PIECES = (
    _A, _Z, _E, _E, _E, "call:", "call", "cal", "f", "{", "}", "{", "}", "[", "]", ",", ":", "a", "b ", "1", "2.5", "-", "0", "true", "True", "None", "null",
    " ", "\n", "\t", "x y", '"', "<", "<esc", "<end_function", "<start_function_response>", "<end_of_turn>", "<eos>", "<pad>", "<start_of_turn>", "hello",
    "a:1", f"a:{_E}x{_E}", f"{_A}call:f{{", f"}}{_Z}", "\u00a0", "\x85", "\x1f", "\ufeff", "😀", "9" * 19, "1e5", "1e999", "(", "__proto__:1,", "é",
)  # fmt: skip


def hostile_dataset() -> ToolDataset:
    """Tools whose every text tries to get out of its literal, and a held-out row whose arguments do."""
    tools = [
        ToolSpec(
            name, HOSTILE[number % len(HOSTILE)],
            {
                "type": "object",
                "properties": {
                    "__proto__": {"type": "string", "description": HOSTILE[(number + 1) % len(HOSTILE)], "enum": list(HOSTILE)},
                    "class": {"type": "integer", "default": 2**70, "minimum": -1.5e300, "nullable": True, "examples": [None, [], {}]},
                    HOSTILE[3]: {"type": "object", "properties": {}},
                },
                "required": ["class"],
            },
        )
        for number, name in enumerate(NAMES)
    ]  # fmt: skip
    texts = {f"k{number}": text for number, text in enumerate(HOSTILE) if "<escape>" not in text}
    calls = [ToolCall("set_light", texts), ToolCall("class", {"__proto__": 1, "constructor": {"toString": []}})]
    return ToolDataset(tuple(tools), (example("go", calls, developer="\n".join(HOSTILE), split="test"),))


def untrained_run(folder: Path) -> Run:
    """A run that has its dataset and nothing else, which is all that a kit is made of."""
    base = {"id": "embedded", "label": "demo", "revision": None, "path": "", "embedded": True}
    run = Run.create(folder, title="My app", config=TrainConfig(), base=base, dataset_sha256="0", versions={}, total_steps=1)
    datasets.save(small_dataset(), run.path / "dataset")
    return run


def broken_replies(count: int, seed: int = 1) -> list[str]:
    """Whole replies with up to three changes, and pieces of replies in any order; the same every time."""
    chance, found = random.Random(seed), []
    for _ in range(count):
        if chance.random() < 0.4:
            found.append("".join(chance.choice(_PIECES) for _ in range(chance.randint(0, 14))))
            continue
        text = chance.choice(_WHOLE)
        for _ in range(chance.randint(0, 3)):
            at, kind = chance.randint(0, len(text)), chance.random()
            text = text[:at] + (chance.choice(_PIECES) + text[at:] if kind < 0.4 else text[at + chance.randint(1, 9) :] if kind < 0.7 else "")
        found.append(text)
    return found


def node() -> str:
    """The program that runs JavaScript. Without it the test skips, or fails where STUDIO_TESTS_NEED_BROWSER is set."""
    found = shutil.which(os.environ.get("NODE") or "node") or shutil.which("nodejs")
    if found is None:
        how = "node was not found: install it (Debian, Ubuntu: `apt-get install nodejs`) or name it in NODE=/path"
        (pytest.fail if os.environ.get("STUDIO_TESTS_NEED_BROWSER") else pytest.skip)(how)
    return found
