"""The first step: tools and examples, what is wrong with them, and how to mend it.

A handler unpacks, makes one call into `editing` or `dataset_view`, and shapes the answer; what a change means is decided there.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from pipeline import jsontext
from pipeline.errors import PipelineError
from pipeline.tools import ToolSpec
from pipeline.ui import dataset_view as view
from pipeline.ui import editing
from pipeline.ui.dataset_view import (
    EVERY_ROW,
    EVERY_SPLIT,
    EVERY_TOOL,
    FINE,
    LOOK,
    MUST_FIX,
    NO_CALL,
    PAGE_ROWS,
    TEST,
    TRAIN,
    Filter,
)
from pipeline.ui.session import Page, find_project, project_of
from pipeline.ui.state import Known, known
from pipeline.ui.widgets import door, issue_list, lead, note, pickable, picked

LEAD = "Your app's functions, and what people say when they want them. The model learns from these examples."
ADD, REPLACE = "Add to what is here", "Replace what is here"
GONE = "That is no longer there. Reload the page."
PASTED = '[{"name": "set_light", "description": "Turns a lamp on or off.", "parameters": {"type": "object", "properties": { … }}}]'
NEW_TOOL = """{
  "name": "set_light",
  "description": "Turns a lamp on or off.",
  "parameters": {
    "type": "object",
    "properties": {
      "room": {"type": "string", "description": "The room, for example kitchen"},
      "on": {"type": "boolean", "description": "True to turn on"}
    },
    "required": ["room", "on"]
  }
}"""


def _row(found: Known | None, index: Any) -> int | None:
    """An index that came from the browser, if there is such a row."""
    return index if found and type(index) is int and 0 <= index < len(found.dataset.examples) else None


def _picked_row(found: Known | None, event: gr.EventData) -> int:
    number = picked(event).rpartition(":")[2]
    index = _row(found, int(number)) if number.isdecimal() and len(number) < 9 else None
    if index is None:
        raise PipelineError(GONE)
    return index


def _tool(found: Known | None, name: Any) -> ToolSpec | None:
    return next((tool for tool in found.dataset.tools if tool.name == name), None) if found else None


# -- showing


@door
def show(key: Any, shown: Any, text: str, tool: str, problem: str, split: str, page: int, index: Any) -> list[Any]:
    """Everything in the tab, from disk. Another project than the one shown starts with clean filters and closed forms."""
    project, damage = find_project(key), ""
    try:
        found = known(project)
    except PipelineError as problem:
        found, damage = None, note(f"{problem} Import a dataset in its place.", "bad")
    rows = bool(found and found.dataset.examples)
    fresh = (project.id if project else None) != shown
    wanted = Filter() if fresh else Filter(text, tool, problem, split)
    if wanted.tool not in (EVERY_TOOL, NO_CALL) and _tool(found, wanted.tool) is None:
        wanted = Filter(wanted.text, EVERY_TOOL, wanted.problem, wanted.split)
    page, index = (0, None) if fresh else (page, _row(found, index))
    names = [each.name for each in found.dataset.tools] if found else []
    ready = rows and not found.must_fix
    choice = {"value": REPLACE} if damage else {"value": ADD} if fresh else {}  # what an import does; else as it was chosen
    return [
        project.id if project else None, wanted.text, gr.Dropdown(choices=[EVERY_TOOL, *names, NO_CALL], value=wanted.tool),
        wanted.problem, wanted.split, page, index,
        gr.HTML(view.health(found) if rows else damage, visible=rows or bool(damage)), view.tool_cards(found), gr.Column(visible=rows),
        view.table(found, wanted, page, index), gr.Button(interactive=found is not None), gr.Dropdown(choices=names, value=None),
        gr.Radio(visible=found is not None or bool(damage), **choice), gr.Button(interactive=ready),
        "" if ready else note(_wanting(found, rows)),
        *([gr.Column(visible=not rows), "", gr.Column(visible=False), gr.Column(visible=False)] if fresh else [gr.skip()] * 4),
    ]  # fmt: skip


def _wanting(found: Known | None, rows: bool) -> str:
    """Why training cannot start yet, and what to do."""
    if not found:
        return "Training needs tools and examples. Import some, or add a tool."
    if not rows:
        return "Training needs examples. Import some, or write a few."
    return "Something must be fixed before training; the count above shows the rows."


@door
def search(key: Any, text: str, tool: str, problem: str, split: str, index: Any) -> tuple[str, int]:
    return view.table(known(find_project(key)), Filter(text, tool, problem, split), 0, index), 0


@door
def on_table(key: Any, text: str, tool: str, problem: str, split: str, page: int, index: Any, event: gr.EventData) -> tuple[str, int, Any]:
    """A click in the table: a row is opened or closed, or the page turned."""
    found = known(project_of(key))
    what, _, number = picked(event).partition(":")
    if what == "page" and number.isdecimal() and len(number) < 9:
        page = int(number)
    else:
        row = _picked_row(found, event)
        index = None if row == index else row
    return view.table(found, Filter(text, tool, problem, split), page, index), page, index


@door
def on_health(key: Any, event: gr.EventData) -> tuple[str, str, str, str]:
    """A click on a count: show those rows, or remove the duplicates."""
    what = picked(event)
    if what == "duplicates":
        editing.remove_duplicates(project_of(key))
    return "", EVERY_TOOL, what if what in (MUST_FIX, LOOK) else EVERY_ROW, EVERY_SPLIT


# -- tools: the form's visibility, text, old name, message, and its Remove button


def _tool_form(text: str = "", old: str | None = None, message: str = "", visible: bool = True) -> list[Any]:
    return [gr.Column(visible=visible), text, old, message, gr.Button(visible=old is not None)]


@door
def edit_tool(key: Any, event: gr.EventData) -> list[Any]:
    tool = _tool(known(project_of(key)), picked(event))
    if tool is None:
        raise PipelineError(GONE)
    return _tool_form(jsontext.dumps(tool.to_json()["function"], indent=2), tool.name)


@door
def save_tool(key: Any, text: str, old: str | None) -> list[Any]:
    """Close the form if the tool could be saved, else say in the form what is wrong with it."""
    try:
        editing.put_tool(project_of(key), text, old)
    except PipelineError as problem:
        return _tool_form(text, old, note(str(problem), "bad"))
    return _tool_form(visible=False)


@door
def remove_tool(key: Any, old: str | None) -> list[Any]:
    editing.remove_tool(project_of(key), old or "")
    return _tool_form(visible=False)


# -- examples: the form's visibility, title, request, calls, words, message, and the row it edits (None: a new one)


def _form(title: str, request: str, calls: str, reply: str, row: Any, message: str = "") -> list[Any]:
    return [gr.Column(visible=True), f'<p class="section">{title}</p>', request, calls, reply, message, row]


def _form_closed() -> list[Any]:
    return [gr.Column(visible=False), "", "", "[]", "", "", None]


@door
def edit_example(key: Any, event: gr.EventData) -> list[Any]:
    found = known(project_of(key))
    index = _picked_row(found, event)
    example = found.dataset.examples[index]
    calls = jsontext.dumps([call.to_json() for call in example.calls], indent=2)
    return _form(f"Row {index + 1}", example.request, calls, example.reply_text, [index, editing.mark(example)])


@door
def insert_call(key: Any, name: Any, calls: str) -> tuple[str, None]:
    """The form's calls with one more, its arguments to be filled in."""
    tool = _tool(known(project_of(key)), name)
    return (editing.with_call(calls, tool) if tool else calls), None


@door
def save_example(key: Any, request: str, calls: str, reply: str, row: Any, index: Any, page: int) -> list[Any]:
    """Close the form if the example could be saved, else say in the form what is wrong. A new row is opened where it stands."""
    try:
        saved = editing.put_example(project_of(key), request, calls, reply, tuple(row) if row else None)
    except PipelineError as problem:
        return [gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip(), note(str(problem), "bad"), row, index, page, *[gr.skip()] * 4]
    if row:
        return [*_form_closed(), saved, page, *[gr.skip()] * 4]
    return [*_form_closed(), saved, saved // PAGE_ROWS, "", EVERY_TOOL, EVERY_ROW, EVERY_SPLIT]


@door
def remove_example(key: Any, event: gr.EventData) -> None:
    project = project_of(key)
    found = known(project)
    index = _picked_row(found, event)
    editing.remove_example(project, (index, editing.mark(found.dataset.examples[index])))


@door
def import_files(key: Any, examples: str | None, tools: str | None, pasted: str, mode: str) -> list[Any]:
    """Import, report and empty the form; or say in the form what is wrong, and leave it as it is."""
    try:
        result = editing.import_files(project_of(key), examples, tools, pasted or "", mode == REPLACE)
    except PipelineError as problem:
        issues = getattr(problem, "issues", ())
        sentence = "Nothing was imported. Mend this, and import again:" if issues else str(problem)
        return [note(sentence, "bad") + issue_list(issues), *[gr.skip()] * 5]
    text = view.report(result) if result else note("The tools are imported. Now import or write some examples.", "good")
    return [text, None, None, "", 0, None]


# -- layout


def _part(title: str, text: str) -> str:
    return f'<p class="section">{title}</p><p class="quiet">{text}</p>'


def build(page: Page) -> None:
    """Place the step inside its gr.Tab and wire it."""
    quiet = {"show_progress": "hidden"}
    shown, turned, opened = gr.State(None), gr.State(0), gr.State(None)
    old_name, row = gr.State(None), gr.State(None)

    with gr.Row(elem_classes=["bar-row", "lead-row"]):
        lead(LEAD)
        to_import = gr.Button("Import", size="sm", scale=0, min_width=110)
    with gr.Column(visible=False, elem_classes="sheet") as importer:
        with gr.Row():
            with gr.Column(min_width=280):
                gr.HTML(_part("1. Your functions", "A JSON file with their names, descriptions and parameters, or the same as text. "
                              "Leave this empty if your examples bring their own."))  # fmt: skip
                tools_file = gr.File(label="File with tools", file_types=[".json", ".txt"], height=150)
                pasted = gr.Textbox(label="Or paste them", lines=4, max_lines=12, placeholder=PASTED, elem_classes="mono")
            with gr.Column(min_width=280):
                gr.HTML(_part("2. What people say", "Example requests with the call each should lead to, as CSV, JSON or JSON Lines. "
                              "Without a file you can write examples here afterwards."))  # fmt: skip
                examples_file = gr.File(label="File with examples", file_types=[".csv", ".json", ".jsonl"], height=150)
                mode = gr.Radio([ADD, REPLACE], value=ADD, label="What happens to the rows that are here", visible=False)
        with gr.Row():
            run_import = gr.Button("Import these", variant="primary", scale=0, min_width=160)
            close_import = gr.Button("Close", scale=0, min_width=140)
        report = gr.HTML()
    health = pickable(visible=False)

    with gr.Row(elem_classes="halves"):
        with gr.Column(scale=2, min_width=300):
            with gr.Row(elem_classes="bar-row"):
                gr.HTML('<h2 class="section">Tools</h2>')
                new_tool = gr.Button("Add a tool", size="sm", scale=0, min_width=110)
            with gr.Column(visible=False, elem_classes="sheet", elem_id="tool-form") as tool_form:
                tool_text = gr.Code(language="json", label="The tool as JSON: name, description, parameters", lines=12)
                tool_message = gr.HTML()
                with gr.Row():
                    keep_tool = gr.Button("Save the tool", variant="primary", size="sm", min_width=110)
                    drop_tool = gr.Button("Remove it", size="sm", min_width=90)
                    close_tool = gr.Button("Cancel", size="sm", min_width=80)
            tools = pickable()
        with gr.Column(scale=3, min_width=320):
            with gr.Row(elem_classes="bar-row"):
                gr.HTML('<h2 class="section">Examples</h2>')
                new_example = gr.Button("Add an example", size="sm", scale=0, min_width=130, interactive=False)
            with gr.Column(visible=False, elem_classes="sheet", elem_id="example-form") as form:
                title = gr.HTML()
                request = gr.Textbox(label="What a person says", lines=2)
                calls = gr.Code("[]", language="json", label="The calls it should lead to ([] for none)", lines=4)
                insert = gr.Dropdown(label="Insert a call of", choices=[])
                reply = gr.Textbox(label="Answer in words, where no tool fits", lines=1)
                message = gr.HTML()
                with gr.Row():
                    keep = gr.Button("Save the example", variant="primary", size="sm", min_width=120)
                    close = gr.Button("Cancel", size="sm", min_width=80)
            with gr.Column(visible=False, elem_classes="filters") as filters:
                text = gr.Textbox(label="Search in requests and answers", lines=1, max_lines=1)
                with gr.Row():
                    tool = gr.Dropdown([EVERY_TOOL], value=EVERY_TOOL, label="Tool", min_width=140)
                    problem = gr.Dropdown([EVERY_ROW, MUST_FIX, LOOK, FINE], value=EVERY_ROW, label="Problems", min_width=140)
                    split = gr.Dropdown([EVERY_SPLIT, TRAIN, TEST], value=EVERY_SPLIT, label="Split", min_width=140)
            table = pickable()
    with gr.Row(elem_classes="next"):
        forward = gr.Button("Next: train a model", variant="primary", interactive=False)
        hint = gr.HTML()

    wanted = [text, tool, problem, split]
    tool_parts = [tool_form, tool_text, old_name, tool_message, drop_tool]
    parts = [form, title, request, calls, reply, message, row]
    page.on_open(
        "dataset", show,
        [shown, *wanted, turned, opened, health, tools, filters, table, new_example, insert, mode, forward, hint, importer, report,
         tool_form, form],
        [shown, *wanted, turned, opened],
    )  # fmt: skip
    # always_last: what is typed while an answer is under way must not be lost
    typed = [text.input, tool.input, problem.input, split.input]
    gr.on(typed, search, [page.key, *wanted, opened], [table, turned], trigger_mode="always_last", **quiet)
    table.select(on_table, [page.key, *wanted, turned, opened], [table, turned, opened], **quiet)
    health.select(on_health, page.key, wanted, **quiet).success(**page.touch())

    to_import.click(lambda: gr.Column(visible=True), None, importer, **quiet)
    close_import.click(lambda: (gr.Column(visible=False), ""), None, [importer, report], **quiet)
    importing = run_import.click(
        import_files, [page.key, examples_file, tools_file, pasted, mode], [report, examples_file, tools_file, pasted, turned, opened],
        show_progress_on=report,
    )  # fmt: skip
    importing.success(**page.touch())

    reveal = "() => setTimeout(() => document.getElementById('%s')?.scrollIntoView({block: 'nearest', behavior: 'smooth'}), 200)"
    new_tool.click(lambda: _tool_form(NEW_TOOL), None, tool_parts, **quiet).then(None, js=reveal % "tool-form")
    tools.select(edit_tool, page.key, tool_parts, **quiet).then(None, js=reveal % "tool-form")
    keep_tool.click(save_tool, [page.key, tool_text, old_name], tool_parts, **quiet).success(**page.touch())
    drop_tool.click(remove_tool, [page.key, old_name], tool_parts, **quiet).success(**page.touch())
    close_tool.click(lambda: _tool_form(visible=False), None, tool_parts, **quiet)

    new_example.click(lambda: _form("A new example", "", "[]", "", None), None, parts, **quiet)
    table.edit(edit_example, page.key, parts, **quiet).then(None, js=reveal % "example-form")
    table.delete(remove_example, page.key, None, **quiet).success(lambda: None, None, opened, **quiet).success(**page.touch())
    insert.input(insert_call, [page.key, insert, calls], [calls, insert], **quiet)
    saving = keep.click(
        save_example, [page.key, request, calls, reply, row, opened, turned], [*parts, opened, turned, *wanted], **quiet
    )
    saving.success(**page.touch())
    close.click(_form_closed, None, parts, **quiet)
    forward.click(**page.go("train"))
