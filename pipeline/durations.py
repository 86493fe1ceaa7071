"""Seconds as people say them, rounded: one form for pages and sentences. A terminal that counts down has its own (cli/console.py)."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """`40 s`, `4 min`, `2 h`, `1 h 40 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
