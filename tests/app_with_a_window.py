"""`python app.py`, and on SIGUSR1 everything that gradio keeps of its visitors, written to the file of STUDIO_WINDOW.

A program for tests: what lies in the state of a session is seen from nowhere else.
"""

import gc
import os
import runpy
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def show(*_: object) -> None:
    from gradio.state_holder import SessionState, StateHolder

    kept = [thing for thing in gc.get_objects() if isinstance(thing, SessionState | StateHolder)]
    values = [
        [one.state_data, *(getattr(block, "value", None) for block in one.blocks_config.blocks.values())]
        if isinstance(one, SessionState)
        else list(one.session_data)
        for one in kept
    ]
    window = Path(os.environ["STUDIO_WINDOW"])
    window.with_suffix(".new").write_text(repr(values), encoding="utf-8")
    window.with_suffix(".new").rename(window)


signal.signal(signal.SIGUSR1, show)
runpy.run_path("app.py", run_name="__main__")
