"""The page as a whole: header, first page, the five steps with their state.

Each step is a module with `build(page)`; this file places them, opens projects and knows nothing about what a step does.
"""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from pipeline import dataset, samples
from pipeline.runs import Project
from pipeline.ui import (
    account,
    api,
    dataset_tab,
    downloads,
    evaluate_tab,
    export_tab,
    header,
    playground_tab,
    returning,
    state,
    train_tab,
    visit,
)
from pipeline.ui.session import (
    SHOWING,
    STEPS,
    Page,
    create_project,
    find_project,
    find_session,
    project_of,
    projects_of,
    welcome,
    with_project,
)
from pipeline.ui.widgets import door, esc, pickable, picked

BUILD = {
    "dataset": dataset_tab.build,
    "train": train_tab.build,
    "evaluate": evaluate_tab.build,
    "playground": playground_tab.build,
    "export": export_tab.build,
}

HERO = """
<div class="hero"><h1>Teach a small model to call your app's functions</h1>
<p>Describe the functions, show what people say, and take home a file that runs on a phone without a network.
Everything happens here, step by step; no code and no account are needed.</p></div>
"""
SAMPLE_CARD = """
<div><h2>Try the sample</h2><p>A finished little dataset. Train on it, compare before and after, talk to the result and download
the file: about 3 minutes on a laptop.</p></div>
"""
OWN_CARD = """
<div><h2>Bring your own functions</h2><p>Paste or upload a description of your functions, import example requests (CSV, JSON or
JSON Lines) or write them here.</p></div>
"""
HOW = """
<div class="how">
<div><strong>Dataset</strong><p>Your functions, and what people say when they want them.</p></div>
<div><strong>Train</strong><p>The model learns from the examples, here or on a GPU.</p></div>
<div><strong>Evaluate</strong><p>Before and after, on requests it has not seen.</p></div>
<div><strong>Playground</strong><p>Talk to it and see the calls it makes.</p></div>
<div><strong>Export</strong><p>A file for Android, iOS, desktop or Flutter, tested before you get it.</p></div>
</div>
"""
# What is open goes into the address, so that it can be bookmarked and two browser tabs can have two projects open.
ADDRESS = """
(key) => {
  const address = new URL(window.location);
  if (address.searchParams.has('model')) return;
  if (key && key.project) address.searchParams.set('project', key.project);
  else { address.searchParams.delete('project'); address.searchParams.delete('tab'); }
  address.searchParams.delete('REFUSED');
  window.history.replaceState(null, '', address);
}
""".replace("REFUSED", account.REFUSED)
SAVE = "() => document.querySelector('#project-file').click()"


def ago(seconds: float) -> str:
    """`just now`, `5 min ago`, `3 h ago`, `2 days ago`."""
    if seconds < 90:
        return "just now"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.0f} h ago" if seconds < 36 * 3600 else f"{seconds / 86400:.0f} days ago"


def project_list(projects: list[Project]) -> str:
    """The visitor's projects with what each has so far."""
    items = "".join(_project(project) for project in projects)
    return f'<div class="projects-box"><h2>Your projects</h2><div class="scroll">{items}</div></div>' if items else ""


def _project(project: Project) -> str:
    words, title, id = state.steps(project), esc(project.title), esc(project.id)
    so_far = f"{words['dataset']} · training {words['train']} · made {ago(time.time() - project.created)}"
    return (
        f'<div class="project"><button type="button" class="link name" data-pick="open:{id}">{title}</button>'
        f'<span class="quiet">{esc(so_far)}</span><span class="row-actions">'
        f'<button type="button" class="link" data-pick="rename:{id}" data-prompt="New name" data-text="{title}" '
        f'aria-label="Rename {title}">Rename</button>'
        f'<button type="button" class="link" data-pick="delete:{id}" aria-label="Delete {title}" '
        f'data-confirm="Delete {title} with its dataset and models? This cannot be undone.">Delete</button></span></div>'
    )


# -- handlers: unpack, one call, shape


@door
def arrive(key: Any, request: gr.Request) -> tuple[dict[str, Any], Any]:
    """What the page opens with: the project of the address if it is this visitor's, else the one the browser remembers."""
    asked = request.query_params.get("project")
    wished = {**key, "project": asked} if asked and isinstance(key, dict) else key
    tab = request.query_params.get("tab")
    if request.query_params.get(account.REFUSED):
        gr.Info("You are not signed in: Hugging Face did not confirm it. Try again if you like; what needs no Hub works without.")
    return welcome(wished if find_project(wished) else key), gr.Tabs(selected=tab if tab in STEPS else STEPS[0])


@door
def show(key: Any, chosen: Any = None) -> list[Any]:
    """Header, first page or steps, and each step's state. `chosen` is what stands in the list of projects."""
    project = find_project(key)
    gone = isinstance(key, dict) and bool(key.get("lost"))
    projects = projects_of(key)
    choices = [(each.title, each.id) for each in projects]
    opened = {} if project and project.id == chosen else {"value": project.id if project else None}
    words = state.steps(project)
    return [
        header.brand(project),
        gr.Column(visible=gone),
        gr.Column(visible=project is None),
        gr.Column(visible=project is not None),
        gr.Dropdown(choices=choices, visible=project is not None, **opened),
        gr.Button(visible=project is not None),
        gr.Button(visible=project is not None),
        "" if project else project_list(projects),
        *(gr.Tab(label=f"{step.capitalize()}\n{words[step]}") for step in STEPS),
    ]


@door
def open_sample(key: Any) -> dict[str, Any]:
    key = create_project(key, "Sample")
    dataset.save(dataset.split(samples.load()), find_project(key).dataset_path)
    return key


@door
def open_own(key: Any) -> dict[str, Any]:
    return create_project(key, "My functions")


@door
def switch_to(key: Any, project_id: Any) -> dict[str, Any]:
    """Another project of the visitor's."""
    return with_project(key, project_id)


@door
def go_home(key: Any) -> dict[str, Any]:
    """The first page; the visitor stays who they are."""
    return with_project(key, None)


@door
def take_home(key: Any) -> str:
    """The open project as one file, for this visitor only."""
    return downloads.project_file(project_of(key), key["session"])


@door
def on_project(key: Any, event: gr.EventData) -> dict[str, Any]:
    """A choice in the list of projects: open, rename or delete one."""
    verb, _, project_id = picked(event).partition(":")
    session = find_session(key)
    project = session.project(project_id) if session else None
    if project is None:
        return welcome(key)
    if verb == "open":
        return {**key, "project": project.id}
    if verb == "rename":
        project.rename(picked(event, "text"))
    elif verb == "delete":
        project.delete()
    return {**key, "project": None}


def build() -> gr.Blocks:
    """The app, not yet launched."""
    sign_in = header.sign_in()
    with gr.Blocks(title="FunctionGemma Studio", analytics_enabled=False, delete_cache=(3600, 86400)) as demo:
        # The secret only keeps the two ids from being read in passing; a fixed one survives a restart of the server.
        key = gr.BrowserState({"session": None, "project": None}, storage_key="functiongemma-studio", secret="functiongemma-studio")
        ticks = {name: gr.Number(0, visible="hidden", elem_classes="unseen") for name in ("page", *STEPS)}
        with gr.Row(elem_id="top"):
            brand = gr.HTML(header.brand(), scale=1)
            who = gr.HTML(scale=0, elem_id="who")
            switch = gr.Dropdown(label="Project", container=False, visible=False, scale=0, min_width=220, elem_id="project")
            leave = gr.Button("All projects", size="sm", visible=False, scale=0, min_width=110)
            take = gr.Button("Download project", size="sm", visible=False, scale=0, min_width=130, elem_id="take-project")
            taken = gr.DownloadButton(visible="hidden", elem_id="project-file")
            header.place_sign_in(sign_in, demo)
        with gr.Column(visible=False, elem_id="home") as home:
            lost, *kept = returning.build()
            gr.HTML(HERO)
            with gr.Row(elem_classes="cards", equal_height=True):
                with gr.Column(elem_classes="card", min_width=280):
                    gr.HTML(SAMPLE_CARD)
                    sample = gr.Button("Open the sample", variant="primary")
                with gr.Column(elem_classes="card", min_width=280):
                    gr.HTML(OWN_CARD)
                    own = gr.Button("Start with my functions")
                with gr.Column(elem_classes="card", min_width=280):
                    visit.card()
            projects = pickable()
            gr.HTML(HOW)
            header.copy_card()
        with gr.Column(visible=False, elem_id="bench") as bench:
            with gr.Tabs(selected=STEPS[0], overflow_behavior="wrap", elem_id="steps") as tabs:
                page = Page(key, tabs, ticks)
                for step in STEPS:
                    with gr.Tab(step.capitalize(), id=step) as page.items[step]:
                        BUILD[step](page)
        visit.build(demo)

        first = {**page.go(STEPS[0]), "js": f"() => {{ window.studioStep = '{STEPS[0]}'; }}"}
        demo.load(arrive, key, [key, tabs], show_progress="hidden").then(**page.touch())
        demo.load(header.who, None, who, show_progress="hidden")
        sample.click(open_sample, key, key).success(**first).then(**page.touch())
        own.click(open_own, key, key).success(**first).then(**page.touch())
        leave.click(go_home, key, key, show_progress="hidden").then(**page.touch())
        returning.wire(page, *kept)
        take.click(take_home, key, taken).success(None, None, None, js=SAVE)
        switch.input(switch_to, [key, switch], key, trigger_mode="always_last", **SHOWING).success(**first).then(**page.touch())
        projects.select(on_project, key, key, show_progress="hidden").success(**first).then(**page.touch())
        shown = [brand, lost, home, bench, switch, leave, take, projects, *page.items.values()]
        ticks["page"].change(show, [key, switch], shown, queue=False, **SHOWING).then(None, key, None, js=ADDRESS)

        for event in demo.fns.values():
            event.api_visibility = "private"
        api.build()
    return demo
