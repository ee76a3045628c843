"""A TCP proxy in front of a service that can be slow, silent or cut, while connections stay open."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Self

from deploy.ports import LOOPBACK, free_port

CHUNK_BYTES = 64 * 1024


class Proxy:
    """Passes bytes both ways between `port` and a target's port; `delay_s` holds back each answer that long.

    `is_silent` swallows answers for good (the service did what it was asked, and nobody hears of it).
    """

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.delay_s = 0.0
        self.is_silent = False
        self._target = target_port
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self) -> None:
        """Closes every connection."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(5)

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.close()

    async def _listen(self) -> None:
        await asyncio.start_server(self._serve, LOOPBACK, self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, there_writer}
        asked = asyncio.create_task(self._pass(reader, there_writer, is_answer=False))
        told = asyncio.create_task(self._pass(there_reader, writer, is_answer=True))
        await asyncio.wait([asked, told], return_when=asyncio.FIRST_COMPLETED)
        for task, end in ((asked, writer), (told, there_writer)):
            task.cancel()
            end.close()
            self._writers.discard(end)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if is_answer:
                    await asyncio.sleep(self.delay_s)
                if not (is_answer and self.is_silent):
                    writer.write(chunk)
                    await writer.drain()
