"""A client that blocks: an `AsyncClient` on a loop of its own, in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

from overlay.core.message import Contact
from overlay.errors import LocalError
from overlay.peer.client.aio import ANSWER_S, AsyncClient, Progress, RingStatus, Source, Target
from overlay.peer.client.line import LISTENING
from overlay.peer.client.mapping import Mapping
from overlay.store.replicated.config import Acked, Got, Listed
from overlay.store.replicated.messages import NEVER, Version

T = TypeVar("T")

CLEAN_S = 5.0
"""For what was interrupted, to delete what it had begun."""


class Client:
    """`with Client("127.0.0.1:7001") as client: client.put("name", b"value")`. Any thread may call it; see `AsyncClient`."""

    def __init__(self, at: str | Sequence[str] | None = None, *, timeout_s: float = ANSWER_S, session: Version = NEVER):
        self._client = AsyncClient(at, timeout_s=timeout_s, session=session)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="overlay-client", daemon=True)
        self._thread.start()

    @property
    def session(self) -> Version:
        """The greatest version that this client was told of."""
        return self._client.session

    def put(self, name: str | bytes, value: bytes, *, ttl_s: float | None = None) -> Acked:
        """See `AsyncClient.put`."""
        return self._do(self._client.put(name, value, ttl_s=ttl_s))

    def put_file(
        self, file: Source, name: str | bytes, *, ttl_s: float | None = None, progress: Progress | None = None
    ) -> Acked:
        """See `AsyncClient.put_file`; `progress` is called on the client's own thread."""
        return self._do(self._client.put_file(file, name, ttl_s=ttl_s, progress=progress))

    def get_file(self, name: str | bytes, file: Target, *, progress: Progress | None = None) -> Got:
        """See `AsyncClient.get_file`; `progress` is called on the client's own thread."""
        return self._do(self._client.get_file(name, file, progress=progress))

    def find(self, name: str | bytes) -> Listed:
        """See `AsyncClient.find`."""
        return self._do(self._client.find(name))

    def get(self, name: str | bytes) -> bytes:
        """See `AsyncClient.get`."""
        return self._do(self._client.get(name))

    def read(self, name: str | bytes) -> Got:
        """See `AsyncClient.read`."""
        return self._do(self._client.read(name))

    def delete(self, name: str | bytes) -> Acked:
        """See `AsyncClient.delete`."""
        return self._do(self._client.delete(name))

    def list(self) -> tuple[Listed, ...]:
        """See `AsyncClient.list`."""
        return self._do(self._client.list())

    def status(self) -> RingStatus:
        """See `AsyncClient.status`."""
        return self._do(self._client.status())

    def ring(self) -> tuple[Contact, ...]:
        """See `AsyncClient.ring`."""
        return self._do(self._client.ring())

    def mapping(self) -> Mapping:
        """The records as a mapping of text to bytes."""
        return Mapping(self)

    def close(self) -> None:
        """Let the connection go."""
        if not self._loop.is_closed():
            self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _end(self) -> None:
        """Whatever is still under way, such as the rest of what failed, is over before the loop is; it has a little time."""
        rest = {task for task in asyncio.all_tasks() if task.get_name() != LISTENING} - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=CLEAN_S)
        await self._client.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise LocalError("this client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C: nobody waits for it any more.
            future.cancel()
            raise
