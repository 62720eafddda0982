"""Evidence that does not come from the service: the database file itself, and the simulator's own books."""

import sqlite3
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import attrs

from tillport.adapters.cli.demo.http import Answer, call, call_json
from tillport.adapters.cli.demo.story import StepFailed

T = TypeVar("T")


def wait_until(look: Callable[[], T | None], *, seconds: float) -> T | None:
    """Look again and again until there is something to see; return None if there was nothing in that time."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


@attrs.frozen
class Rows:
    """The table StripeEvents, read from the file, past the service."""

    path: Path

    def of(self, event_id: str) -> list[dict[str, Any]]:
        """Return the rows of one event."""
        return self._query('SELECT * FROM "StripeEvents" WHERE event_id = ?', event_id)

    def count(self) -> int:
        """Return how many rows there are."""
        found: int = self._query('SELECT count(*) AS n FROM "StripeEvents"')[0]["n"]
        return found

    def _query(self, sql: str, *values: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=5)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, values)]


@attrs.frozen
class Books:
    """What the simulated Stripe says happened to it."""

    url: str
    secret_key: str = attrs.field(repr=False, default="")

    def state(self) -> dict[str, Any]:
        """Return the simulator's keys, endpoints and counts."""
        return self._ok(call("GET", f"{self.url}/_sim/"))

    def charges(self) -> list[dict[str, Any]]:
        """Return every charge of the account, newest first."""
        found: list[dict[str, Any]] = self.api("GET", "/v1/charges?limit=100")["data"]
        return found

    def taken(self) -> list[dict[str, Any]]:
        """Return the charges that moved money."""
        return [charge for charge in self.charges() if charge["status"] == "succeeded"]

    def event_about(self, object_id: str, type_: str) -> dict[str, Any] | None:
        """Return the event of that type about that object, if the simulator made one."""
        events = self.api("GET", f"/v1/events?limit=100&type={type_}")["data"]
        return next((event for event in events if event["data"]["object"]["id"] == object_id), None)

    def deliveries(self, event_id: str) -> list[dict[str, Any]]:
        """Return the attempts to deliver an event, with the status that each was answered."""
        attempts = self._ok(call("GET", f"{self.url}/_sim/deliveries"))["deliveries"]
        return [attempt for attempt in attempts if attempt["event_id"] == event_id]

    def idle(self) -> bool:
        """Tell whether nothing waits to be delivered."""
        backlog: int = self._ok(call("GET", f"{self.url}/_sim/deliveries"))["backlog"]
        return backlog == 0

    def requests(self, method: str, path: str) -> list[dict[str, Any]]:
        """Return the requests that came in on a path, in order."""
        seen = self._ok(call("GET", f"{self.url}/_sim/requests"))["requests"]
        return [request for request in seen if request["method"] == method and request["path"] == path]

    def control(self, name: str, payload: object) -> dict[str, Any]:
        """Tell the simulator to misbehave, to move its clock, to deliver again."""
        return self._ok(call_json("POST", f"{self.url}/_sim/{name}", payload))

    def api(
        self, method: str, path: str, form: dict[str, str] | None = None, *, key: str = ""
    ) -> dict[str, Any]:
        """Call Stripe's API as any client would. The answer must be a success."""
        return self._ok(self.request(method, path, form, key=key))

    def request(self, method: str, path: str, form: dict[str, str] | None = None, *, key: str = "") -> Answer:
        """Call Stripe's API and return the answer as it is."""
        basic = b64encode(f"{key or self.secret_key}:".encode()).decode()
        headers = {"Authorization": f"Basic {basic}"}
        if form is None:
            return call(method, f"{self.url}{path}", headers=headers)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return call(method, f"{self.url}{path}", headers=headers, body=urlencode(form))

    def _ok(self, answer: Answer) -> dict[str, Any]:
        if answer.status != 200:
            raise StepFailed(
                "the simulated Stripe answers 200", f"{answer.status} {answer.body[:300].decode()}"
            )
        found: dict[str, Any] = answer.json()
        return found
