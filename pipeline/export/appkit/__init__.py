"""The app kit: a folder beside the exported file with what an app needs to call the functions, in five languages.

Dart, Kotlin, Swift, JavaScript and Python each get the tools' declarations, a strict reader of replies and the exact prompt. templates/
holds the readers, which are the same for everybody, and the files that are filled from the dataset (`.in`); literals.py writes user text
into them, vectors.py the golden vectors that all languages read. Nothing is renamed: a call carries the tool's own name, and the constants
that stand for names say which.

Knows nothing of model files. The kit is made of the dataset, so it can be made before, after or without them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ExportError
from pipeline.export import file_name
from pipeline.export.appkit import literals, vectors
from pipeline.export.appkit.templates import functiongemma as reader
from pipeline.export.source import Row, Source
from pipeline.export.workplace import work_folder
from pipeline.files import exclusive
from pipeline.runs import Run
from pipeline.tools import TRIGGER, ToolSpec

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = "-app-kit"
ROWS = 20
FILES = {
    "dart": ("function_gemma.dart", "check.dart", "tools.dart.in"),
    "kotlin": ("FunctionGemma.kt", "LiteRtLm.kt", "Check.kt", "Tools.kt.in"),
    "swift": ("FunctionGemma.swift", "check/main.swift", "Tools.swift.in"),
    "javascript": ("functiongemma.mjs", "check.mjs", "tools.mjs.in"),
    "python": ("functiongemma.py", "tools.py.in"),
}
OWN_WORDS = (
    "- **Your developer's text** is not FunctionGemma's usual sentence, which some runtimes write by themselves: compare their prompt "
    "with those in vectors.json before you rely on it.\n"
)
_PLACE = re.compile(r"@@([A-Z]+)@@")
_MIDNIGHT = (1980, 1, 1, 0, 0, 0)  # the earliest that a .zip can say, so that the same kit is the same file


@dataclass(frozen=True)
class Kit:
    """A written kit: its folder, and the same as a .zip with its size in bytes and SHA-256.

    `unread` counts the dataset's own held-out replies that the readers refuse, so that no vector could be made of them.
    """

    path: str
    archive: str
    size: int
    sha256: str
    vectors: int
    unread: int

    def to_json(self) -> dict[str, Any]:
        return {"format": "appkit", "verified": True, **asdict(self)}

    @property
    def sentence(self) -> str:
        left = f"; {self.unread} held-out replies are none that the readers take" if self.unread else ""
        return f"an app kit for {len(FILES)} languages with {self.vectors} golden vectors, {self.size / 1e3:.0f} kB{left}"


def write(run: Run | Source, out: str | Path | None = None) -> Kit:
    """The kit of a run or checkpoint, which may still be untrained, as a folder and a .zip of it in `out` or beside the exported files.

    An older one is replaced. The Python reader has read every vector before anything gets its name. Raises ExportError if there is
    nothing to declare.
    """
    source = Source(run.model_path, run.dataset(), file_name(run)) if isinstance(run, Run) else run
    if out is None:
        out = run.artifacts_path if isinstance(run, Run) else source.checkpoint.parent
    tools = source.dataset.tools
    if not tools:
        raise ExportError("An app kit declares functions, and this dataset has none of its own; add its tools first.")
    out = Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    candidates = source.requests(ROWS) if source.rows else []
    rows = [row for row in candidates if _is_readable(row)]
    golden = vectors.golden(rows, tools, vectors.usual_developer(source.dataset))
    if failed := reader.check(golden):
        raise ExportError(f"The app kit's own reader does not give what its vector {failed[0]!r} says; please report this defect of ours.")
    name = f"{source.name}{SUFFIX}"
    with work_folder(out) as work:
        folder = work / name
        for file, text in _contents(tools, golden, name).items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, "utf-8", newline="\n")
        _zip(folder, work / f"{name}.zip")
        data = (work / f"{name}.zip").read_bytes()
        with exclusive(out):
            if (out / name).is_dir():
                os.replace(out / name, work / "replaced")
            os.replace(folder, out / name)
            os.replace(work / f"{name}.zip", out / f"{name}.zip")
    count, digest = len(golden["vectors"]), hashlib.sha256(data).hexdigest()
    return Kit(str(out / name), str(out / f"{name}.zip"), len(data), digest, count, len(candidates) - len(rows))


def _contents(tools: tuple[ToolSpec, ...], golden: dict[str, Any], name: str) -> dict[str, str]:
    """File -> text of the whole kit."""
    readme = (TEMPLATES / "README.md.in").read_text("utf-8").replace("@@NAME@@", name)
    made = {
        "README.md": readme + (OWN_WORDS if golden["developer"] != TRIGGER else ""),
        "tools.json": json.dumps([tool.to_json() for tool in tools], indent=1, ensure_ascii=False) + "\n",
        "vectors.json": json.dumps(golden, indent=1, ensure_ascii=False) + "\n",
    }
    for language, files in FILES.items():
        places = _places(tools, golden, language)
        for file in files:
            text = (TEMPLATES / file).read_text("utf-8")
            if file.endswith(".in"):  # in one pass, so that a place within somebody's text stays text
                text = _PLACE.sub(lambda found, places=places: places[found[1]], text)
            made[f"{language}/{file.removesuffix('.in')}"] = text
    return made


def _places(tools: tuple[ToolSpec, ...], golden: dict[str, Any], language: str) -> dict[str, str]:
    """What is filled into the templates of a language."""
    names = literals.constants(tool.name for tool in tools)
    text = {constant: literals.string(name, language) for constant, name in names.items()}
    plain = [tool.to_json() for tool in tools]
    if language == "dart":
        enum = ",\n".join(f"  {constant}({literal})" for constant, literal in text.items())
        shown = "".join(f"  {_dart_tool(tool)},\n" for tool in tools)
    elif language == "kotlin":
        enum = ",\n".join(f"    {constant}({literal})" for constant, literal in text.items())
        described = (literals.long_string(json.dumps(tool["function"], ensure_ascii=False), language) for tool in plain)
        shown = ",\n".join(f"    ToolName.{name} to {one}" for name, one in zip(names, described, strict=True)) + "\n"
    elif language == "swift":
        enum = "\n".join(f"  case {constant} = {literal}" for constant, literal in text.items())
        shown = literals.long_string(json.dumps(plain, ensure_ascii=False), language)
    elif language == "javascript":
        enum = "\n".join(f"  {constant}: {literal}," for constant, literal in text.items())
        shown = literals.value(plain, language)
    else:
        enum = "\n".join(f"    {constant} = {literal}" for constant, literal in text.items())
        shown = literals.value(plain, language)
    return {
        "NAMES": enum,
        "TOOLS": shown,
        "DEVELOPER": literals.long_string(golden["developer"], language),
        "DECLARATIONS": literals.long_string(golden["declarations"], language),
    }


def _dart_tool(tool: ToolSpec) -> str:
    name, description = literals.string(tool.name, "dart"), literals.string(tool.description, "dart")
    parameters = f"\n    parameters: {literals.value(tool.parameters, 'dart', 2)}," if tool.parameters else ""
    return f"Tool(\n    name: {name},\n    description: {description},{parameters}\n  )"


def _is_readable(row: Row) -> bool:
    """Whether the readers find in a row's reply what the row says."""
    reply = reader.parse(row.completion)
    return not reply.errors and [asdict(call) for call in reply.calls] == [call.to_json() for call in row.example.calls]


def _zip(folder: Path, target: Path) -> None:
    """The folder in a .zip whose bytes depend on its content only."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(f"{folder.name}/{file.relative_to(folder).as_posix()}", _MIDNIGHT)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, file.read_bytes())
