"""The Space: `python app.py` serves the studio at http://127.0.0.1:7860 (GRADIO_SERVER_NAME, GRADIO_SERVER_PORT, STUDIO_WORKSPACE)."""

import spaces  # noqa: F401, I001 - before anything that could touch CUDA

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from pipeline.ui import account, jobs, layout, session, theme, warmth  # noqa: E402

demo = layout.build()

if __name__ == "__main__":
    demo.queue(max_size=100, default_concurrency_limit=4)
    try:
        demo.launch(
            server_name=os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if account.on_space() else "127.0.0.1"),
            server_port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
            theme=theme.theme(), css_paths=theme.CSS, show_error=False, run_history=False, enable_monitoring=False,
            max_file_size="20mb", footer_links=["gradio", "settings"], prevent_thread_lock=True, ssr_mode=False,
            mcp_server=True, app_kwargs=account.app_options(),
            _frontend=False,  # gradio would ask itself for the page, and end where that takes 3 s: on a cold, busy machine
        )  # fmt: skip
    except OSError as error:  # the port is taken, and the message says what to do
        raise SystemExit(f"The studio could not start: {error}") from None
    jobs.line_of(session.workspace().root)  # what waited when the last server ended goes on, with or without a visitor
    warmth.start()
    demo.block_thread()
