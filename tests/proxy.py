"""Stands before a server and loses what passes: for answers that never come, and for words that are never heard."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL


class Proxy:
    """Stands before a server and drops, from some moment on, what the client says or what the server answers."""

    def __init__(self, url: str) -> None:
        self._to = URL(url)
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = url
        self.drops_requests = False
        self.drops_answers = False
        # As soon as a client says this, no answer comes back to anybody.
        self.drops_answers_after: bytes | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen; `url` leads here meanwhile."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = str(self._to.with_port(server.sockets[0].getsockname()[1]))
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def heal(self) -> None:
        """Drop nothing any more."""
        self.drops_requests = self.drops_answers = False
        self.drops_answers_after = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(self._to.host, self._to.port)
        except OSError:
            writer.close()
            return
        for source, sink, is_clients in ((reader, up_writer, True), (up_reader, writer, False)):
            self._tasks.add(asyncio.create_task(self._pass_on(source, sink, is_clients=is_clients)))

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_clients: bool) -> None:
        try:
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    if is_clients and self.drops_answers_after is not None and self.drops_answers_after in data:
                        self.drops_answers = True
                    if not (self.drops_requests if is_clients else self.drops_answers):
                        sink.write(data)
                        await sink.drain()
        finally:
            sink.close()
