"""Compiles the app kit's Kotlin files and runs them over the golden vectors and 3,000 broken replies: by hand, where there is a compiler.

    python -m tests.kotlin_check --kotlinc /path/to/kotlinc --json /path/to/org.json.jar

LiteRT-LM's three names are replaced by stand-ins with the signatures of its documentation. Done with Kotlin 2.4.20 (JVM 17), for the plain
and the hostile dataset of the tests; what the kit's README says of Kotlin rests on this. The tests themselves parse the files only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.export import appkit
from pipeline.export.appkit.templates import functiongemma as reader
from pipeline.export.source import Source
from tests.appkit_world import broken_replies, hostile_dataset
from tests.tuned_world import small_dataset

STAND_INS = """package com.google.ai.edge.litertlm
interface OpenApiTool { fun getToolDescriptionJsonString(): String; fun execute(paramsJsonString: String): String }
interface ToolProvider
fun tool(openApiTool: OpenApiTool): ToolProvider = object : ToolProvider {}
"""
MAIN = """package functiongemma
import java.io.File
import org.json.JSONArray
import org.json.JSONObject
fun main(args: Array<String>) {
    val text = File(args[0]).readText()
    val golden = JSONObject(text)
    val tools = JSONArray(File(args[1]).readText())
    val functions = (0 until tools.length()).map { tools.getJSONObject(it).getJSONObject("function") }
    check(golden.getString("developer") == DEVELOPER && golden.getString("declarations") == DECLARATIONS)
    check(DECLARED.values.map { JSONObject(it).toString() } == functions.map { it.toString() })
    check(ToolName.values().map { it.wire } == functions.map { it.getString("name") } && liteRtLmTools().size == functions.size)
    val failed = checkVectors(text)
    check(failed.isEmpty()) { failed }
    println("${golden.getJSONArray("vectors").length()} vectors")
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kotlinc", required=True)
    parser.add_argument("--json", required=True, help="the jar of org.json")
    args = parser.parse_args()
    for name, data in {"plain": small_dataset(), "hostile": hostile_dataset()}.items():
        with tempfile.TemporaryDirectory() as folder:
            kit = Path(appkit.write(Source(Path("nowhere"), data, name), folder).path)
            golden = json.loads((kit / "vectors.json").read_text("utf-8"))
            golden["vectors"] += [_vector(text) for text in broken_replies(3000, seed=3)]
            (kit / "vectors.json").write_text(json.dumps(golden), "utf-8")
            (kit / "StandIns.kt").write_text(STAND_INS, "utf-8")
            (kit / "Main.kt").write_text(MAIN, "utf-8")
            files = [str(file) for file in kit.rglob("*.kt")]
            subprocess.run([args.kotlinc, *files, "-cp", args.json, "-include-runtime", "-d", str(kit / "kit.jar")], check=True)
            command = ["java", "-cp", f"{kit / 'kit.jar'}:{args.json}", "functiongemma.MainKt", str(kit / "vectors.json"), str(kit / "tools.json")]
            ran = subprocess.run(command, check=True, capture_output=True, text=True)
            sys.stdout.write(f"{name}: {ran.stdout}")


def _vector(text: str) -> dict:
    reply = reader.parse(text)
    errors = [{"code": error.code, "at_utf16": len(text[: error.at].encode("utf-16-le")) // 2} for error in reply.errors]
    calls = [{"name": call.name, "arguments": call.arguments} for call in reply.calls]
    return {"name": text, "reply": text, "text": reply.text, "calls": calls, "errors": errors}


if __name__ == "__main__":
    main()
