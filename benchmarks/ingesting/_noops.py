"""The two handlers that do nothing, to hold the real one against: the framework's ordinary one and its barest.

    python -m ingesting._noops post|mounted        (in the folder benchmarks)

Served as `tillport serve` serves: uvicorn with uvloop and httptools, no access log, one process.
"""

import socket
import sys

import uvicorn
from litestar import Litestar, Request, asgi, post
from litestar.types import Receive, Scope, Send


@post("/noop", status_code=200)
async def ordinary(request: Request) -> dict[str, bool]:  # type: ignore[type-arg] # a no-op
    """Read the body and return a dict."""
    await request.body()
    return {"received": True}


@asgi("/noop", is_mount=True, copy_scope=False)
async def mounted(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - Litestar asks for it by name
    """Read the body and answer, without anything of the framework's."""
    while (await receive()).get("more_body"):
        pass
    body = b'{"received":true}'
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def main() -> None:
    """Serve one of them on a free port, and print which."""
    handler = {"post": ordinary, "mounted": mounted}[sys.argv[1]]
    app = Litestar([handler], openapi_config=None, logging_config=None)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        app, access_log=False, log_level="error", loop="uvloop", http="httptools", server_header=False
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
