"""The folder of a peer that lasts: who it is, and what ring it was in. Its records and contacts are there too, by the disk.

    identity     a random secret, made once, which nobody else may read
    ring.json    the shape of the ring, and the port that was listened on

Who has the secret is the peer: a copy of the folder is the same peer, and a ring takes only one of them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

import msgspec

from overlay.errors import LocalError
from overlay.ids import Key, key_of
from overlay.ring.messages import Shape
from overlay.store.disk.folder import Folder, as_local_error

SECRET_BYTES = 32
"""As long as the seed of an Ed25519 key."""

MAX_FILE_BYTES = 4096


class Lasting(msgspec.Struct, frozen=True):
    """What ring a peer was in, and where."""

    shape: Shape
    port: int


class Home:
    """One peer's folder."""

    def __init__(self, path: Path):
        self.path = path
        self._folder = Folder(path, "home")

    def secret(self) -> bytes:
        """The peer's secret; made now if there is none. LocalError where it cannot be kept, or is not secret."""
        path = self.path / "identity"
        with as_local_error(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                self._make(path)
            if os.name == "posix" and path.stat().st_mode & 0o077:
                raise LocalError(f"others can read {path}, which makes this peer: chmod 600 {path}")
            text = self._folder.read("identity", MAX_FILE_BYTES)
        try:
            secret = bytes.fromhex(text.decode())
        except ValueError:
            secret = b""
        if len(secret) != SECRET_BYTES:
            raise LocalError(f"{path} is damaged: it has {2 * SECRET_BYTES} hexadecimal digits")
        return secret

    def _make(self, path: Path) -> None:
        # Whole or not at all, and never in the place of one that another process made this moment.
        temporary = path.with_name(f".identity-{os.getpid()}-{secrets.token_hex(4)}")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(secrets.token_hex(SECRET_BYTES).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass
            except OSError:
                # A file system without second names.
                temporary.rename(path)
            self._folder.sync()
        finally:
            temporary.unlink(missing_ok=True)

    def last(self) -> Lasting | None:
        """What was remembered; None in a new folder."""
        try:
            return msgspec.json.decode(self._folder.read("ring.json", MAX_FILE_BYTES), type=Lasting)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise LocalError(f"{self.path / 'ring.json'} cannot be read: {error}") from None

    def remember(self, last: Lasting) -> None:
        """For the next start; call it when the folder is this process's own."""
        with as_local_error(self.path):
            if last != self.last():
                self._folder.write("ring.json", msgspec.json.encode(last) + b"\n")
                self._folder.sync()


def id_of(secret: bytes, bits: int, number: int = 0) -> Key:
    """The id that a secret gives: a hash of its public part, into the ring's bits. Virtual nodes have numbers (CFS, section 4)."""
    public = hashlib.sha256(b"overlay identity\0" + secret).digest()
    return key_of(public + number.to_bytes(2), bits)
