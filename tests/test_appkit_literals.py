"""Anybody's text in source code of five languages: one literal, nothing that runs, and exactly that text when it is read back.

Python's and JavaScript's are read back by the languages themselves. No compiler of Dart, Kotlin or Swift is at hand here: their files are
parsed with tree-sitter's grammars, and their literals read by the rules of their references, written down below once more.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest
import tree_sitter_dart
import tree_sitter_kotlin
import tree_sitter_swift
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tree_sitter import Language, Node, Parser

from pipeline.export import appkit
from pipeline.export.appkit import literals
from pipeline.export.source import Source
from tests.appkit_world import HOSTILE, NAMES, TEMPLATES, hostile_dataset
from tests.appkit_world import node as node_program
from tests.tuned_world import small_dataset

GRAMMARS = {"dart": tree_sitter_dart, "kotlin": tree_sitter_kotlin, "swift": tree_sitter_swift}
LANGUAGE_OF = {".dart": "dart", ".kt": "kotlin", ".swift": "swift"}
STRINGS = {"dart": "string_literal", "kotlin": "string_literal", "swift": "line_string_literal"}
INTERPOLATION = ("interpolation", "interpolated_expression", "template_substitution")
PIECES = ("$", "${", "}", "$x", "\\", "\\(", ")", '"', "'", "`", "\n", "\r", "\t", "*/", "/*", "//", "#", "\\u", "{41}", "x41", "</script", "<!--", "@@", "a")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
NAMED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"'}


def tree(source: str, language: str) -> Node:
    return Parser(Language(GRAMMARS[language].language())).parse(source.encode("utf-8")).root_node


def nodes(root: Node) -> list[Node]:
    found = [root]
    for one in found:  # grows while it is walked
        found += one.children
    return found


def read(literal: str, language: str) -> str:
    """The text of a literal, by the rules of Dart, Kotlin or Swift; fails on everything that is not plain text or an escape."""
    assert literal[0] == literal[-1] == '"'
    inner, text, at = literal[1:-1], [], 0
    while at < len(inner):
        char = inner[at]
        assert char not in '"\n\r' and not (char == "$" and language in ("dart", "kotlin")), literal[:200]
        at += 1
        if char != "\\":
            text.append(char)
            continue
        char = inner[at]
        at += 1
        if char in NAMED:
            text.append(NAMED[char])
        elif char == "$" and language in ("dart", "kotlin"):
            text.append("$")
        else:
            pattern = r"u([0-9a-f]{4})" if language == "kotlin" else r"u\{([0-9a-f]{1,6})\}"
            escape = re.compile(pattern).match(inner, at - 1)
            assert escape, literal[:200]
            text.append(chr(int(escape[1], 16)))
            at = escape.end()
    return "".join(text).encode("utf-16", "surrogatepass").decode("utf-16")  # Kotlin's pairs become one character


@pytest.mark.parametrize("language", GRAMMARS)
@settings(max_examples=150, deadline=None)
@given(text=TEXT)
@example(text="".join(HOSTILE))
def test_a_literal_of_dart_kotlin_or_swift_is_one_string_and_reads_back(text, language):
    literal = literals.string(text, language)
    assert read(literal, language) == text
    opening = {"dart": "const String x = ", "kotlin": "val x: String = ", "swift": "let x: String = "}[language]
    root = tree(f"{opening}{literal}{';' if language == 'dart' else ''}\n", language)
    strings = [one for one in nodes(root) if one.type == STRINGS[language]]
    assert not root.has_error and [one.text.decode("utf-8") for one in strings] == [literal]
    assert not any(one.type in INTERPOLATION for one in nodes(root))


@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_a_python_literal_is_that_text(text):
    literal = literals.string(text, "python")
    assert ast.literal_eval(literal) == text and len(literal.splitlines()) == 1
    assert ast.literal_eval(f"{{1: {literals.long_string(text, 'python')}}}") == {1: text}


def test_javascript_literals_are_their_texts(tmp_path):
    """A thousand of them in one file, which node reads; in a page none of them would end the script."""
    texts = [*HOSTILE]

    @settings(max_examples=1000, deadline=None, database=None)
    @given(TEXT)
    def collect(text: str) -> None:
        texts.append(text)

    collect()
    written = [literals.string(text, "javascript") for text in texts]
    assert not any("</" in one or "<!--" in one or len(one.splitlines()) > 1 for one in written)
    file = tmp_path / "texts.mjs"
    file.write_text(f"console.log(JSON.stringify([{','.join(written)}]));\n", "utf-8")
    ran = subprocess.run([node_program(), str(file)], capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == texts


@pytest.mark.parametrize("language", literals.LANGUAGES)
def test_a_long_text_is_cut_into_short_literals(language):
    text = ("x" * 7999 + "$") * 9
    written = literals.long_string(text, language)
    assert max(map(len, re.findall(r'"[^"]*"', written))) <= 8003  # a constant of the JVM holds 65,535 bytes
    if language == "python":
        assert ast.literal_eval(written) == text
    elif language == "kotlin":
        assert written.startswith("listOf(") and written.endswith(').joinToString("")')
    assert "".join(re.findall(r'"([^"]*)"', written)).replace("\\$", "$") == text


def test_constants_are_capitals_that_no_language_reserves():
    names = literals.constants([*NAMES, *HOSTILE])
    assert list(names.values()) == [*NAMES, *HOSTILE]
    assert all(re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", constant) for constant in names)
    expected = {"SET_LIGHT": "set_light", "SET_LIGHT_2": "setLight", "TOOL": "_", "TOOL_2": "__", "TOOL_1ST": "1st", "ETE": "été", "CLASS": "class"}
    assert expected.items() <= names.items()


@pytest.fixture(scope="module")
def kits(tmp_path_factory) -> list[Path]:
    data = {"plain": small_dataset(), "hostile": hostile_dataset()}
    return [Path(appkit.write(Source(Path("nowhere"), one, name), tmp_path_factory.mktemp(name)).path) for name, one in data.items()]


def test_the_files_of_dart_kotlin_and_swift_are_programs(kits):
    for kit in kits:
        files = [file for file in kit.rglob("*") if file.suffix in LANGUAGE_OF]
        assert len(files) == 10
        for file in files:
            root = tree(file.read_text("utf-8"), LANGUAGE_OF[file.suffix])
            assert not [one for one in nodes(root) if one.is_error or one.is_missing], file.name


@pytest.mark.parametrize("file", ["dart/tools.dart", "kotlin/Tools.kt", "swift/Tools.swift"])
def test_hostile_text_stands_in_strings_only_and_is_whole(kits, file):
    kit, language = kits[1], LANGUAGE_OF[Path(file).suffix]
    golden, tools = json.loads((kit / "vectors.json").read_text("utf-8")), json.loads((kit / "tools.json").read_text("utf-8"))
    source = (kit / file).read_bytes()
    found = nodes(tree(source.decode("utf-8"), language))
    assert not any(one.type in INTERPOLATION for one in found)
    strings = sorted((one for one in found if one.type == STRINGS[language] and one.text.startswith(b'"')), key=lambda one: one.start_byte)
    written = [one for node in strings for one in re.findall(r'"(?:[^"\\]|\\.)*"', node.text.decode("utf-8"))]  # in Dart neighbours are one node
    texts = [read(one, language) for one in written]
    assert set(NAMES) <= set(texts)
    whole = "".join(texts)
    assert golden["developer"] in whole and golden["declarations"] in whole
    if language == "dart":
        assert set(every_text([[tool["function"]["description"], tool["function"]["parameters"]] for tool in tools])) <= set(texts)
    else:
        assert all(json.dumps(tool["function"], ensure_ascii=False) in whole for tool in tools)
    for one in reversed(strings):
        source = source[: one.start_byte] + source[one.end_byte :]
    words = set(re.findall(r"\w+", source.decode("ascii")))
    known = re.findall(r"\w+", (TEMPLATES / f"{Path(file).name}.in").read_text("utf-8")) + re.findall(r"\w+", (kits[0] / file).read_text("utf-8"))
    numbers = {word for word in words if word[0].isdigit()}
    assert words - numbers <= {*known, *literals.constants(NAMES), "listOf", "joinToString", "null", "true", "e"}


def every_text(value) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [*value, *(text for inner in value.values() for text in every_text(inner))]
    return [text for inner in value for text in every_text(inner)] if isinstance(value, list) else []
