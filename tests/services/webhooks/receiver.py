"""A receiver on a real socket: records requests and responds as the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from standardwebhooks import Webhook

Answer = Callable[["Post"], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Post:
    """One request as it came."""

    headers: Mapping[str, str]
    body: bytes
    request: web.Request

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verify(self, secret: str) -> None:
        """Check the signature with the library that receivers use; it wants header names in lower case."""
        Webhook(secret).verify(self.body, {name.lower(): value for name, value in self.headers.items()})


@dataclass
class Receiver:
    """Answers 204 unless a status, or a response of its own, is set."""

    url: str = ""
    posts: list[Post] = field(default_factory=list)
    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: Answer | None = None
    connections: set[object] = field(default_factory=set)
    under_way: int = 0
    most_under_way: int = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        post = Post(request.headers.copy(), await request.read(), request)
        self.posts.append(post)
        self.connections.add(request.transport)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.answer is not None:
                return await self.answer(post)
            return web.Response(status=self.status, headers=self.headers)
        finally:
            self.under_way -= 1

    def hang(self, status: int = 204) -> asyncio.Event:
        """Answer nothing until the returned event is set, and then with the status."""
        release = asyncio.Event()

        async def wait(_: Post) -> web.StreamResponse:
            await release.wait()
            return web.Response(status=status)

        self.answer = wait
        return release


@asynccontextmanager
async def running_receiver() -> AsyncIterator[Receiver]:
    """Serve a receiver on a loopback port."""
    receiver = Receiver()
    app = web.Application(client_max_size=2**20)
    app.router.add_post("/hook", receiver.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.url = f"http://127.0.0.1:{site.port}/hook"
        yield receiver
    finally:
        await runner.cleanup()
