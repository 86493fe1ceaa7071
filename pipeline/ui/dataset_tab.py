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
from pipeline.ui.due import Due
from pipeline.ui.session import SHOWING, Page, find_project, project_of
from pipeline.ui.state import Known, known
from pipeline.ui.widgets import door, issue_list, lead, note, pickable, picked, typed, whole_number

LEAD = "Your app's functions, and what people say when they want them. The model learns from these examples."
ADD, REPLACE = "Add to what is here", "Replace what is here"
GONE = "That is no longer there. Reload the page."
HIDE = gr.update(visible=False)
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
    index = _row(found, whole_number(picked(event).rpartition(":")[2]))
    if index is None:
        raise PipelineError(GONE)
    return index


def _tool(found: Known | None, name: Any) -> ToolSpec | None:
    return next((tool for tool in found.dataset.tools if tool.name == name), None) if found else None


# -- showing


@door
def show(key: Any, shown: Any, tool: Any) -> list[Any]:
    """Everything in the tab but the rows, from disk. Another project than the one shown starts with clean filters and closed forms."""
    project, damage = find_project(key), ""
    try:
        found = known(project)
    except PipelineError as problem:
        found, damage = None, note(f"{problem} Import a dataset in its place.", "bad")
    rows = bool(found and found.dataset.examples)
    ready = rows and not found.must_fix
    id = project.id if project else None
    first, other = id != shown, shown not in (None, id)
    names = [each.name for each in found.dataset.tools] if found else []
    gone = other or (tool not in (EVERY_TOOL, NO_CALL) and _tool(found, tool) is None)
    choice = {"value": REPLACE} if damage else {"value": ADD} if first else {}  # what an import does; else as it was chosen
    opens = first and project is not None and not rows
    return [
        id, gr.Dropdown(choices=[EVERY_TOOL, *names, NO_CALL], **({"value": EVERY_TOOL} if gone else {})),
        gr.HTML(view.health(found) if rows else damage, visible=rows or bool(damage)), view.tool_cards(found), gr.Column(visible=rows),
        gr.Button(interactive=found is not None), gr.Dropdown(choices=names), gr.Radio(visible=found is not None or bool(damage), **choice),
        gr.Button(variant="secondary" if ready else "primary"), gr.Button(interactive=ready, variant="primary" if ready else "secondary"),
        "" if ready else note(_wanting(found, rows)), gr.Column(visible=opens) if opens or other else gr.skip(),
        *(["", EVERY_ROW, EVERY_SPLIT, None, None, "", "", "", HIDE, HIDE] if other else [gr.skip()] * 10),
    ]  # fmt: skip


def _wanting(found: Known | None, rows: bool) -> str:
    """Why training cannot start yet, and what to do."""
    if not found:
        return "Training needs tools and examples. Import some, or add a tool."
    if not rows:
        return "Training needs examples. Import some, or write a few."
    return "Something must be fixed before training; the count above shows the rows."


@door
def show_rows(key: Any, text: Any, tool: Any, problem: Any, split: Any, place: Any, opened: Any) -> str:
    """The table at the page that was turned to, or at its beginning if the filters were others then."""
    wanted = Filter.of(text, tool, problem, split)
    try:
        found = known(find_project(key))
    except PipelineError:  # `show` says so
        found = None
    turned_for, page = place or (wanted, 0)
    return view.table(found, wanted, page if turned_for == wanted else 0, _row(found, opened))


@door
def on_table(key: Any, text: Any, tool: Any, problem: Any, split: Any, place: Any, opened: Any, event: gr.EventData) -> tuple[Any, Any]:
    """A click in the table: a row is opened or closed, or the page turned."""
    what, _, number = picked(event).partition(":")
    page = whole_number(number)
    if what == "page" and page is not None:
        return (Filter.of(text, tool, problem, split), page), opened
    row = _picked_row(known(project_of(key)), event)
    return gr.skip(), None if row == opened else row


@door
def on_health(key: Any, event: gr.EventData) -> tuple[str, str, str, str]:
    """A click on a count: show those rows, or remove the duplicates."""
    what = picked(event)
    if what == "duplicates":
        editing.remove_duplicates(project_of(key))
    return "", EVERY_TOOL, what if what in (MUST_FIX, LOOK) else EVERY_ROW, EVERY_SPLIT


# -- tools: the form's visibility, text, old name, message, and its Remove button


def _tool_form(text: str = "", old: str = "", visible: bool = True) -> list[Any]:
    return [gr.Column(visible=visible), text, old, "", gr.Button(visible=bool(old))]


@door
def edit_tool(key: Any, event: gr.EventData) -> list[Any]:
    """The form with the tool that was chosen."""
    tool = _tool(known(project_of(key)), picked(event))
    if tool is None:
        raise PipelineError(GONE)
    return _tool_form(jsontext.dumps(tool.to_json()["function"], indent=2), tool.name)


@door
def save_tool(key: Any, text: Any, old: Any) -> list[Any]:
    """Close the form if the tool could be saved, else say in the form what is wrong with it."""
    try:
        editing.put_tool(project_of(key), typed(text), typed(old) or None)
    except PipelineError as problem:
        return [gr.skip(), gr.skip(), gr.skip(), note(str(problem), "bad"), gr.skip()]
    return _tool_form(visible=False)


@door
def remove_tool(key: Any, old: Any) -> list[Any]:
    """Remove the tool that the form shows, and close it."""
    editing.remove_tool(project_of(key), typed(old))
    return _tool_form(visible=False)


# -- examples: the form's visibility, title, request, calls, words, message, and the row it edits ("": a new one)


def _form(title: str, request: str, calls: str, reply: str, row: str) -> list[Any]:
    return [gr.Column(visible=True), f'<p class="section">{title}</p>', request, calls, reply, "", row]


def _form_closed() -> list[Any]:
    return [gr.Column(visible=False), "", "", "[]", "", "", ""]


def _marked(text: Any) -> tuple[int, str] | None:
    """The row that a form edits, as `edit_example` has put it there."""
    number, _, mark = typed(text).partition(":")
    if not number:
        return None
    if (index := whole_number(number)) is None:
        raise PipelineError(GONE)
    return index, mark


@door
def edit_example(key: Any, event: gr.EventData) -> list[Any]:
    """The form with the row that was chosen."""
    found = known(project_of(key))
    index = _picked_row(found, event)
    example = found.dataset.examples[index]
    calls = jsontext.dumps([call.to_json() for call in example.calls], indent=2)
    return _form(f"Row {index + 1}", example.request, calls, example.reply_text, f"{index}:{editing.mark(example)}")


@door
def insert_call(key: Any, name: Any, calls: Any) -> tuple[Any, None]:
    """The form's calls with one more, its arguments to be filled in."""
    tool = _tool(known(project_of(key)), name)
    return (editing.with_call(typed(calls), tool) if tool else gr.skip()), None


@door
def save_example(key: Any, request: Any, calls: Any, reply: Any, row: Any) -> list[Any]:
    """Close the form if the example could be saved, else say in the form what is wrong. A new row is opened where it stands."""
    same = gr.skip()
    try:
        marked = _marked(row)
        saved = editing.put_example(project_of(key), typed(request), typed(calls), typed(reply), marked)
    except PipelineError as problem:
        return [same, same, same, same, same, note(str(problem), "bad"), *[same] * 7]
    if marked:
        return [*_form_closed(), saved, *[same] * 5]
    return [*_form_closed(), saved, (Filter(), saved // PAGE_ROWS), "", EVERY_TOOL, EVERY_ROW, EVERY_SPLIT]


@door
def remove_example(key: Any, event: gr.EventData) -> None:
    """Remove the row that was chosen; none is open afterwards."""
    project = project_of(key)
    found = known(project)
    index = _picked_row(found, event)
    editing.remove_example(project, (index, editing.mark(found.dataset.examples[index])))


@door
def import_files(key: Any, examples: str | None, tools: str | None, pasted: Any, mode: Any) -> list[Any]:
    """Import, report, empty the form and close it once there are rows; or say in the form what is wrong, and leave it as it is."""
    try:
        result = editing.import_files(project_of(key), examples, tools, typed(pasted), mode == REPLACE)
    except PipelineError as problem:
        issues = getattr(problem, "issues", ())
        sentence = "Nothing was imported. Mend this, and import again:" if issues else str(problem)
        return [gr.skip(), note(sentence, "bad") + issue_list(issues), *[gr.skip()] * 6]
    if result:
        return [HIDE, "", view.report(result), None, None, "", None, None]
    return [gr.skip(), note("The tools are imported. Now import or write some examples.", "good"), "", None, None, "", None, None]


# -- layout


def _part(title: str, text: str) -> str:
    return f'<p class="section">{title}</p><p class="quiet">{text}</p>'


def build(page: Page) -> None:
    """Place the step inside its gr.Tab and wire it."""
    quiet = {"show_progress": "hidden"}
    shown, place, opened = gr.State(None), gr.State(None), gr.State(None)
    due = Due()
    # What a form edits travels with what is typed in it: a gr.State would be that of the click which the page has not answered yet.
    old_name, row = (gr.Textbox("", visible="hidden", elem_classes="unseen") for _ in range(2))

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
        problems = gr.HTML()
    report = pickable()
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
                text = gr.Textbox(label="Search in requests and answers", lines=1, max_lines=1, elem_id="dataset-search")
                with gr.Row():
                    tool = gr.Dropdown([EVERY_TOOL], value=EVERY_TOOL, label="Tool", min_width=140)
                    problem = gr.Dropdown([EVERY_ROW, MUST_FIX, LOOK, FINE], value=EVERY_ROW, label="Problems", min_width=140)
                    split = gr.Dropdown([EVERY_SPLIT, TRAIN, TEST], value=EVERY_SPLIT, label="Split", min_width=140)
            table = pickable(elem_id="dataset-rows")
    with gr.Row(elem_classes="next"):
        forward = gr.Button("Next: train a model", variant="primary", interactive=False)
        hint = gr.HTML()

    wanted = [text, tool, problem, split]
    tool_parts = [tool_form, tool_text, old_name, tool_message, drop_tool]
    parts = [form, title, request, calls, reply, message, row]
    afresh = [text, problem, split, place, opened, table, report, problems, tool_form, form]
    page.on_open(
        "dataset", show,
        [shown, tool, health, tools, filters, new_example, insert, mode, run_import, forward, hint, importer, *afresh], [shown, tool],
    ).then(**due.again)  # fmt: skip
    due.on(text.change, tool.input, problem.input, split.input)  # a text put in as a whole raises no input event in gradio 6.31
    due.asks(show_rows, [page.key, *wanted, place, opened], table)
    table.select(on_table, [page.key, *wanted, place, opened], [place, opened], queue=False, **SHOWING).success(**due.again)
    health.select(on_health, page.key, wanted, **quiet).success(**page.touch())

    to_import.click(lambda: (gr.Column(visible=True), ""), None, [importer, report], queue=False, **quiet)
    close_import.click(lambda: (HIDE, ""), None, [importer, problems], queue=False, **quiet)
    report.select(lambda: "", None, report, queue=False, **quiet)
    importing = run_import.click(
        import_files, [page.key, examples_file, tools_file, pasted, mode],
        [importer, problems, report, examples_file, tools_file, pasted, place, opened], show_progress_on=problems,
    )  # fmt: skip
    importing.success(**page.touch())

    reveal = "() => setTimeout(() => document.getElementById('%s')?.scrollIntoView({block: 'nearest', behavior: 'smooth'}), 200)"
    new_tool.click(lambda: _tool_form(NEW_TOOL), None, tool_parts, **quiet).then(None, js=reveal % "tool-form")
    tools.select(edit_tool, page.key, tool_parts, **quiet).then(None, js=reveal % "tool-form")
    keep_tool.click(save_tool, [page.key, tool_text, old_name], tool_parts, **quiet).success(**page.touch())
    drop_tool.click(remove_tool, [page.key, old_name], tool_parts, **quiet).success(**page.touch())
    close_tool.click(lambda: _tool_form(visible=False), None, tool_parts, **quiet)

    new_example.click(lambda: _form("A new example", "", "[]", "", ""), None, parts, **quiet)
    table.edit(edit_example, page.key, parts, **quiet).then(None, js=reveal % "example-form")
    table.delete(remove_example, page.key, opened, **quiet).success(**page.touch())
    insert.input(insert_call, [page.key, insert, calls], [calls, insert], **quiet)
    saving = keep.click(save_example, [page.key, request, calls, reply, row], [*parts, opened, place, *wanted], **quiet)
    saving.success(**page.touch())
    close.click(_form_closed, None, parts, **quiet)
    forward.click(**page.go("train"))
