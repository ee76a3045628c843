"""TLS in front of a service that has none: takes TLS connections and passes their bytes on, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator

from deploy.ports import LOOPBACK


@contextlib.contextmanager
def tls_proxy(context: ssl.SSLContext, port: int, target_port: int) -> Iterator[None]:
    """Serves TLS on `port` for the service on `target_port`, both on loopback."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection(LOOPBACK, target_port)
        try:
            await asyncio.gather(_copy(reader, outer), _copy(inner, writer))
        finally:
            outer.close()
            writer.transport.abort()

    serving = asyncio.start_server(pass_on, LOOPBACK, port, ssl=context)
    asyncio.run_coroutine_threadsafe(serving, loop).result()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(65_536):
            sink.write(chunk)
            await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
    else:
        sink.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
