"""Loads the heavy packages and the embedded base in the background once the page can be answered, so that no click waits for them.

Nothing depends on it: whoever needs one of them gets it, warm or cold.
"""

from __future__ import annotations

import importlib
import logging
import threading

from pipeline.model import on_zero_gpu
from pipeline.ui import answers, zerogpu

log = logging.getLogger("studio")

HEAVY = ("torch", "transformers.models.gemma3.modeling_gemma3", "datasets")


PAUSE = 3.0
"""Seconds before it begins: imports hold the interpreter, and the first page is answered in the meantime."""


def start() -> threading.Timer:
    """Begin soon; returns the thread, which ends by itself."""
    thread = threading.Timer(PAUSE, _load)
    thread.daemon = True
    thread.start()
    return thread


def _load() -> None:
    for library in ("torchao", "torch.utils._pytree"):  # which of its GPU kernels a CPU cannot load is no news for the app's log
        logging.getLogger(library).setLevel(logging.ERROR)
    for name in HEAVY:
        try:
            importlib.import_module(name)
        except ImportError as error:  # the handler that needs it will say so to the user
            log.warning("could not load %s ahead of time: %s", name, error)
            return
    if on_zero_gpu():  # a slot is a fork of this process: what it finds here takes no GPU time
        zerogpu.warm()
    answers.warm_up()
