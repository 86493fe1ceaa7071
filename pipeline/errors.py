"""What goes wrong, said to the user.

    PipelineError            one sentence: where, what was expected, what was found, what to do
    ├── DataError            tools or examples; carries every problem found, not the first
    ├── ConfigError          an option out of bounds, or two that exclude each other
    ├── RunError             a run folder that cannot do what was asked of it
    ├── ModelError           a base model or checkpoint that cannot be found or loaded
    ├── ExportError          a file that could not be made, or was made and failed its check
    └── HubError             the Hugging Face Hub said no, or could not be asked; carries the HTTP status

The message is displayed as it stands, by the command line and by the app, without a traceback. Everything else that is raised
is a defect of ours: it is caught at those two doors only, logged with its traceback, and reported as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class PipelineError(Exception):
    """Base of every error whose text is written for the user."""


class DataError(PipelineError):
    """Tools or examples that cannot be used.

    `issues` holds every problem (`pipeline.tools.Issue`), so that they can be mended in one go.
    """

    def __init__(self, message: str, issues: Sequence[Any] = ()):
        super().__init__(message)
        self.issues = tuple(issues)


class ConfigError(PipelineError):
    """An option with a value that cannot be used."""


class RunError(PipelineError):
    """A run folder that is missing, damaged, busy or not far enough for what was asked."""


class ModelError(PipelineError):
    """A base model or checkpoint that cannot be found, reached or loaded."""


class ExportError(PipelineError):
    """An artifact that could not be made or did not pass its verification; it is not offered."""


class HubError(PipelineError):
    """Something that the Hugging Face Hub refused, or that could not reach it. Never holds a token.

    `status` is the HTTP status of the answer (401, 402, 403, 404, 409, 412, 429, 5xx), None where there was none; `retry_after`
    the seconds after which the Hub wants to be asked again, where it said so.
    """

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None):
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
