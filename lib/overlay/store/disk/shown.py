"""What people see of a peer's records: plain files in its own folder, second names of its bodies."""

from __future__ import annotations

import logging
import os

from overlay.core.storage import BlobRef
from overlay.errors import LocalError
from overlay.store.disk.bodies import Bodies
from overlay.store.disk.folder import Folder, check_name
from overlay.store.disk.system import open_file

RECORD = "record/"
"""An entry `record/2067` is shown as `2067.pdf`."""

log = logging.getLogger(__name__)


class Shown:
    """The peer's own folder. A view of the entries and nothing that they rely on: a start makes it right again."""

    __slots__ = ("_bodies", "folder")

    def __init__(self, folder: Folder, bodies: Bodies):
        self.folder = folder
        self._bodies = bodies

    def show(self, key: str, ref: BlobRef) -> bool:
        """Have the record under its name, unless a stranger's file stands there. Whether that took another one's place."""
        name = visible(key)
        if name is None:
            return False
        try:
            body, status = self._bodies.path(ref), self.folder.status(name)
            if status is None or (not os.path.samestat(status, body.lstat()) and self._is_ours(name)):
                self.folder.link(name, body, ref.sha256)
                return status is not None
        except (OSError, LocalError) as error:
            log.warning("%s/%s is not shown: %s", self.folder.path, name, error)
        return False

    def hide(self, key: str) -> bool:
        """Show it no more. Whether it was shown."""
        name = visible(key)
        try:
            if name is not None and self._is_ours(name):
                self.folder.remove(name)
                return True
        except OSError as error:
            log.warning("%s/%s is still shown: %s", self.folder.path, name, error)
        return False

    def _is_ours(self, name: str) -> bool:
        """Whether a file is a name or a copy of a body of ours; anything else is a stranger's."""
        try:
            fd = open_file(self.folder.path / name)
        except OSError:
            return False
        try:
            return self._bodies.is_one(os.fstat(fd)) or self._bodies.is_copy(fd)
        finally:
            os.close(fd)


def visible(key: str) -> str | None:
    """The name under which an entry is shown, if it is."""
    if not key.startswith(RECORD):
        return None
    try:
        return check_name(key.removeprefix(RECORD) + ".pdf")
    except LocalError:
        return None
