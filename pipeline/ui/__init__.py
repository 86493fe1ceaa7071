"""The page: the only place that imports gradio. It shapes what the pipeline says and decides nothing itself.

    session     who is here and which project is open: ids and paths, checked
    widgets     HTML for calls, tokens, problems and tools; the door at which errors become sentences
    jobs        long work in subprocesses, one visible line for all visitors
    dataset_tab, train_tab, evaluate_tab, playground_tab, export_tab     one step each: `build(page)`
    layout      header, first page, five steps, theme
"""
