"""A client of the app that respects nothing: any event by its number, with any data, as any session. What a hostile visitor can send.

Speaks what the page's own script speaks: joins gradio's queue, reads the stream of server-sent events until the event is over.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any
from urllib.parse import urlsplit

import httpx

WAIT = 240.0
"""Seconds that an answer, or the next piece of one, may take; costs time only where something fails."""
OVER = ("process_completed", "close_stream", "unexpected_error", "server_stopped")


class Client:
    """One visitor's connection. `cookie` is the sign-in's; `heard` collects every text that the server has answered."""

    def __init__(self, url: str, cookie: str = ""):
        self.http = httpx.Client(base_url=url, timeout=WAIT, trust_env=False)
        self.cookie, self.heard = cookie, []
        self.config = json.loads(self.get("/config").text)
        self.components = {one["id"]: one for one in self.config["components"]}

    def __del__(self) -> None:
        self.http.close()

    @property
    def headers(self) -> dict[str, str]:
        return {"Cookie": self.cookie} if self.cookie else {}

    def get(self, path: str) -> httpx.Response:
        answer = self.http.get(path, headers=self.headers)
        self.heard.append(answer.text)
        return answer

    def post(self, path: str, **body: Any) -> httpx.Response:
        answer = self.http.post(path, headers=self.headers, **body)
        self.heard.append(answer.text)
        return answer

    def events(self) -> list[dict[str, Any]]:
        """Every event that runs code on the server, hidden ones too."""
        return [one for one in self.config["dependencies"] if one["backend_fn"]]

    def id_of(self, name: str) -> int:
        """The number of the component with this elem_id."""
        return next(id for id, one in self.components.items() if one["props"].get("elem_id") == name)

    def send(self, event: dict[str, Any], data: list[Any], event_data: Any = None, session: str | None = None, **more: Any) -> str:
        """Raise an event; everything the server says about it until it is over. Events of one `session` share gradio's state."""
        session = session or secrets.token_hex(5)
        body = {"data": data, "event_data": event_data, "fn_index": event["id"], "trigger_id": None, "session_hash": session, **more}
        joined = self.post("/gradio_api/queue/join", json=body)
        if joined.status_code != 200:
            return joined.text
        said = ""
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}, headers=self.headers) as stream:
            for line in stream.iter_lines():
                said += line + "\n"
                if line.startswith("data:") and json.loads(line[5:]).get("msg") in OVER:
                    break
        self.heard.append(said)
        return said

    def sign_in(self) -> None:
        """The whole way to the Hub's OpenID Connect and back, as a browser goes it. The cookie is `Secure`, so it is carried by hand."""
        address, cookies = f"{self.http.base_url}/login/huggingface", dict[str, str]()
        for _ in range(10):
            mine = urlsplit(address).netloc == urlsplit(str(self.http.base_url)).netloc
            sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if mine and cookies else {}
            answer = httpx.get(address, headers=sent, timeout=WAIT, trust_env=False)
            for line in answer.headers.get_list("set-cookie") if mine else []:
                name, _, value = line.partition(";")[0].partition("=")
                cookies[name] = value
            self.heard.append(answer.text)
            if answer.status_code not in (302, 307):
                break
            address = str(answer.url.join(answer.headers["location"]))
        assert answer.status_code == 200, f"{address}: {answer.status_code} {answer.text[:300]}"
        self.cookie = f"session={cookies['session']}"

    def sign_of_an_accident(self, said: str) -> str | None:
        """What in an answer only a program's author should see."""
        found = re.search(r'Traceback|File \\?"[^"]*\.py|site-packages|\b[A-Z]\w+Error\b:', said)
        return said[max(0, found.start() - 100) : found.end() + 200] if found else None
