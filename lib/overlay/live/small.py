"""Bodies that fit into memory: made of bytes, and read as such. Both block: they run on a pool."""

from __future__ import annotations

import hashlib

from overlay.core.blobstore import BlobStore
from overlay.core.storage import BlobRef
from overlay.errors import LocalError, NotThere


def made(blobs: BlobStore, data: bytes) -> BlobRef:
    """A body of these bytes, which may be here already. LocalError when the disk will not, or the same body is just coming."""
    ref = BlobRef(hashlib.sha256(data).digest(), len(data))
    partial = blobs.partial(ref)
    try:
        rest = memoryview(data)[partial.have :]
        if rest:
            partial.write(rest)
            partial.check(rest)
        partial.finish()
    finally:
        partial.close()
    return ref


def read(blobs: BlobStore, ref: BlobRef) -> bytes:
    """The bytes of a body that is here, as they were hashed; LocalError if they are not."""
    path = blobs.source(ref)
    if path is None:
        raise NotThere("the body is not here")
    data = path.read_bytes()
    if hashlib.sha256(data).digest() != ref.sha256:
        raise LocalError(f"{path} is damaged")
    return data
