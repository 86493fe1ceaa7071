"""Loads the heavy packages in the background once the first page can be answered, so that the first click that needs them does not wait.

Nothing depends on it: whoever needs a package imports it, warm or cold.
"""

from __future__ import annotations

import importlib
import logging
import threading

log = logging.getLogger("studio")

HEAVY = ("torch", "transformers.models.gemma3.modeling_gemma3", "pipeline.model")


def start() -> threading.Thread:
    """Begin; returns the thread, which ends by itself."""
    thread = threading.Thread(target=_load, name="warmth", daemon=True)
    thread.start()
    return thread


def _load() -> None:
    for name in HEAVY:
        try:
            importlib.import_module(name)
        except ImportError as error:  # the handler that needs it will say so to the user
            log.warning("could not load %s ahead of time: %s", name, error)
