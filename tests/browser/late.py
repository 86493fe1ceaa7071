"""Answers of the server that come late, as on a busy machine, and when a test says so: what is done meanwhile must not be undone by them."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from playwright.sync_api import Page, Request, Response, Route

MOST = 120.0
"""Seconds that only a failure reaches."""


class Late:
    """Holds the answers of the events that write a component, from its making until `come`. For events that do not go through the queue."""

    def __init__(self, page: Page, url: str, writes: str):
        self.page, self.held, self.holding = page, list[tuple[Route, Any]](), True
        config = json.loads(urllib.request.urlopen(f"{url}/config", timeout=60).read())
        (id,) = (one["id"] for one in config["components"] if one["props"].get("elem_id") == writes)
        self.events = {one["id"] for one in config["dependencies"] if id in one["outputs"] and one["backend_fn"]}
        page.route("**/gradio_api/run/**", self._hold)

    def _hold(self, route: Route, request: Request) -> None:
        """The server answers now, with what it knows now; the page hears of it later."""
        if self.holding and (request.post_data_json or {}).get("fn_index") in self.events:
            self.held.append((route, route.fetch()))
        else:
            route.continue_()

    def wait(self) -> None:
        """Until an answer is held."""
        deadline = time.monotonic() + MOST
        while not self.held:
            assert time.monotonic() < deadline, "the page asked for nothing"
            self.page.wait_for_timeout(20)

    def asked_again(self, answer: Response) -> bool:
        """Whether this is the answer to something that the page asked on its own, not one of those that were held."""
        return "/gradio_api/run/" in answer.url and (answer.request.post_data_json or {}).get("fn_index") not in self.events

    def come(self) -> None:
        """All that was held arrives, and whatever comes after it is not held."""
        self.holding = False
        for route, answer in self.held:
            route.fulfill(response=answer)
        self.held.clear()
