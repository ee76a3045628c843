"""How the gateway is served: security headers on every answer, and a shutdown that drains."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import structlog
import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream import telemetry

log = structlog.get_logger(__name__)

DRAIN_S = 6
"""How long requests in flight may take to finish once the gateway has been told to stop."""

STUCK_CLIENT_MS = 20_000
"""How long the kernel waits for a client that reads nothing before it gives its connection up."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds the headers that keep a page from loading or running what is not ours, and counts the answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-cache" if "etag" in headers else "no-store")
                route = getattr(scope.get("route"), "path", "other")
                telemetry.HTTP_REQUESTS.labels(route=route, status=message["status"]).inc()
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains on SIGTERM or SIGINT and then returns, so that the process ends with 0."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stops at a signal without raising it again afterwards, as uvicorn's own would."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the streams, stops accepting, finishes what is in flight."""
        log.info("draining", at_most_s=DRAIN_S)
        self._drain()
        await super().shutdown(sockets)


def listener(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError when the port is taken."""
    bound = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STUCK_CLIENT_MS)
    return bound


def server(app: ASGIApp, drain: Callable[[], None]) -> DrainingServer:
    """The server of `app`; `await it.serve(sockets=[listener(...)])`."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=DRAIN_S, lifespan="on"
    )
    return DrainingServer(config, drain)


def serve(app: ASGIApp, host: str, port: int, drain: Callable[[], None]) -> None:
    """Serves `app` until SIGTERM or SIGINT, then drains."""
    with listener(host, port) as bound:
        log.info("gateway_serves", url=f"http://{host}:{bound.getsockname()[1]}/")
        server(app, drain).run(sockets=[bound])
