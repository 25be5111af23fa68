"""A ring's store as a mapping, for small values."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING

from overlay.store.replicated.config import NotFound

if TYPE_CHECKING:
    from overlay.peer.client.blocking import Client


class Mapping(MutableMapping[str, bytes]):
    """`client.mapping()["name"] = b"value"`. Every look is a question to the ring, and so are `len` and `in`.

    Names that are no UTF-8 have no place here, and are left out; `Client.list` has all.
    """

    def __init__(self, client: Client):
        self._client = client

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._client.get(name)
        except NotFound:
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: bytes) -> None:
        self._client.put(name, value)

    def __delitem__(self, name: str) -> None:
        # As a dict does: to delete what is not there is an error. Between the two somebody else may delete it too.
        self[name]
        self._client.delete(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[str]:
        names = []
        for listed in self._client.list():
            try:
                names.append(listed.name.decode())
            except UnicodeDecodeError:
                continue
        return names
