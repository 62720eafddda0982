"""A server that listens to everything, reconnecting to whichever process is there, from the last position it heard."""

import http.client
import json
import threading
from collections.abc import Callable
from typing import Any

from wreck.service import SERVER_KEY


class Listener(threading.Thread):
    """Hear every event over server-sent events, for as long as it takes."""

    def __init__(self, port: Callable[[], int]) -> None:
        super().__init__(name="listener", daemon=True)
        self.heard: list[tuple[int, str]] = []
        """Position and event id, in the order of hearing."""
        self.resets = 0
        self._port = port
        self._position = 0
        self._enough = threading.Event()

    def enough(self) -> None:
        self._enough.set()

    def run(self) -> None:
        while not self._enough.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port(), timeout=10)
            try:
                connection.request(
                    "GET",
                    "/events/stream",
                    headers={"Authorization": f"Bearer {SERVER_KEY}", "Last-Event-ID": str(self._position)},
                )
                self._listen(connection.getresponse())
            except (OSError, http.client.HTTPException, ValueError):
                self._enough.wait(0.1)
            finally:
                connection.close()

    def _listen(self, stream: Any) -> None:
        fields: dict[str, str] = {}
        while not self._enough.is_set():
            line = stream.readline().decode()
            if not line:
                return
            if line == "\n":
                self._note(fields)
                fields = {}
            elif not line.startswith(":"):
                name, _, value = line.rstrip("\n").partition(": ")
                # A text of several lines comes as several `data` fields (WHATWG HTML, server-sent events).
                fields[name] = fields["data"] + "\n" + value if name == "data" and "data" in fields else value

    def _note(self, fields: dict[str, str]) -> None:
        if fields.get("event") == "reset":
            self.resets += 1
        elif "data" in fields:
            self.heard.append((int(fields["id"]), json.loads(fields["data"])["id"]))
        if "id" in fields:
            self._position = int(fields["id"])
