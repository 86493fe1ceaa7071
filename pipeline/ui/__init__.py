"""The page: the only place that imports gradio. It shapes what the pipeline says and decides nothing itself.

    session       who is here and which project is open: ids, checked; what the tabs share (`Page`)
    state         what a project has so far, and its dataset with everything known about it
    widgets       HTML for calls, tokens, problems and tools; the door at which errors become sentences
    tokens        a text as the tokens that a model reads
    editing       changes to a project's dataset, each whole
    answers       one model's answer to one request, with a few models kept in memory
    jobs, processes, timings      long work in subprocesses, one visible line for all visitors, how long it takes
    settings, destinations, downloads      the options of a training; what can be exported; files for one visitor
    *_view        how a dataset, a run, an evaluation and an export are shown
    *_tab         one step each: `build(page)`
    account, header      whose Hub account acts; the line at the top of the page
    api           four functions for programs, over HTTP and as MCP tools
    solo, answer_view, demo_app   the playground for one model alone: what it shows, and a shared demo's app.py
    visit, share_panel, errands   a public model of the Hub by its name; a demo shared; what takes a while in this process
    layout, theme the page: header, first page, five steps; how every page looks
    warmth        the heavy packages, loaded in the background
"""
