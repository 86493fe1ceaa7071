"""`evaluate` and `chat`: what a model answers, to the held-out rows or to one request.

How answers are made, parsed and compared is decided in pipeline.model, functiongemma and evaluate.
"""

from __future__ import annotations
