"""The official Python SDK against a simulator in the same process: no socket, sync and async.

client = stripe.StripeClient(sim.secret_key, http_client=SimulatorHTTPClient(sim))
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from stripe import APIConnectionError, HTTPClient

from tillport.simulator.deliveries import Attempt
from tillport.simulator.simulator import Simulator, Sink
from tillport.simulator.wire import Request, Response

AsyncSink = Callable[[Attempt], Awaitable[int | None]]


class _Headers(dict[str, str]):
    """Headers as the SDK expects them: looked up in any case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name.lower() if isinstance(name, str) else name)

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


async def deliver_async(simulator: Simulator, sink: AsyncSink) -> list[tuple[Attempt, int | None]]:
    """Perform what is due now by awaiting `sink(attempt) -> status`; return what happened, in order.

    For a sink that raises, or is cancelled, see `Simulator.deliver`.
    """
    done: list[tuple[Attempt, int | None]] = []
    while attempts := simulator.due_deliveries():
        try:
            for attempt in attempts:
                status = await sink(attempt)
                simulator.delivery_result(attempt, status)
                done.append((attempt, status))
        except BaseException:
            for attempt in attempts:
                simulator.delivery_result(attempt, None)
            raise
    return done


class SimulatorHTTPClient(HTTPClient):
    """Hand the SDK's requests to a simulator directly.

    With `sink` (or `async_sink`), due webhooks are delivered to it after each call, and before the answer where the
    fault `webhook_first` says so. The SDK's own waits between retries are cut to `retry_delay_seconds`; a slow answer
    moves a movable clock instead of sleeping. A lost answer or a timeout is the SDK's `APIConnectionError`, retryable.
    """

    name = "tillport-simulator"

    def __init__(
        self,
        simulator: Simulator,
        *,
        sink: Sink | None = None,
        async_sink: AsyncSink | None = None,
        retry_delay_seconds: float = 0.0,
    ) -> None:
        super().__init__()
        self._simulator = simulator
        self._sink = sink
        self._async_sink = async_sink
        self._retry_delay_seconds = retry_delay_seconds

    # The SDK's own hook; before 15.3.1 it is told of the response, too.
    def _sleep_time_seconds(self, num_retries: int, response: Any = None) -> float:  # noqa: ARG002
        return self._retry_delay_seconds

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        """Answer one request of the synchronous SDK."""
        response = self._simulator.handle(_request(method, url, headers, post_data))
        if self._sink is not None:
            self._simulator.deliver(self._sink)
        return self._answer(response)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Answer one request of the asynchronous SDK."""
        response = self._simulator.handle(_request(method, url, headers, post_data))
        if self._async_sink is not None:
            await deliver_async(self._simulator, self._async_sink)
        elif self._sink is not None:
            self._simulator.deliver(self._sink)
        return self._answer(response)

    def _answer(self, response: Response) -> tuple[bytes, int, Mapping[str, str]]:
        if response.connection in ("reset", "truncated"):
            raise APIConnectionError("Connection reset by the simulator, as asked.", should_retry=True)  # type: ignore[no-untyped-call] # the SDK has no types here
        if response.connection == "timeout":
            raise APIConnectionError("Request timed out in the simulator, as asked.", should_retry=True)  # type: ignore[no-untyped-call] # the same
        if response.delay_seconds and hasattr(self._simulator.clock, "advance"):
            self._simulator.advance(response.delay_seconds)
        return response.body, response.status, _Headers(response.headers)

    async def sleep_async(self, secs: float) -> None:
        """Wait between the SDK's retries."""
        await asyncio.sleep(secs)

    def close(self) -> None:
        """Do nothing: there is nothing open."""

    async def close_async(self) -> None:
        """Do nothing: there is nothing open."""


def _request(method: str, url: str, headers: Mapping[str, str] | None, post_data: Any) -> Request:
    scheme, _, rest = url.partition("://")
    path = "/" + rest.partition("/")[2] if scheme and rest else url
    body = post_data.encode() if isinstance(post_data, str) else bytes(post_data or b"")
    return Request(method.upper(), path, {k.lower(): v for k, v in (headers or {}).items()}, body)
