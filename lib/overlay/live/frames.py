"""Frames on a TCP connection: four bytes of length, most significant first, and then so many bytes."""

from __future__ import annotations

from overlay.core.codec import MAX_FRAME_BYTES

HEADER_BYTES = 4


def frame(data: bytes) -> bytes:
    """The bytes with their length in front."""
    return len(data).to_bytes(HEADER_BYTES) + data


class FrameReader:
    """Makes frames of whatever pieces TCP delivers. A length is judged before anything is allocated for it."""

    __slots__ = ("_buffer", "_need", "broken")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._need = HEADER_BYTES
        self.broken = False
        """An impossible length came; nothing after it can be understood."""

    @property
    def waiting(self) -> bool:
        """Whether a beginning of a frame is here."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that these bytes complete."""
        frames: list[bytes] = []
        if self.broken:
            return frames
        buffer = self._buffer
        buffer += data
        at = 0
        # A frame that dribbles in is looked at once it is whole, so a byte at a time costs nobody anything.
        while len(buffer) - at >= self._need:
            if self._need == HEADER_BYTES:
                size = int.from_bytes(buffer[at : at + HEADER_BYTES])
                if not 0 < size <= MAX_FRAME_BYTES:
                    self.broken = True
                    buffer.clear()
                    return frames
                self._need += size
            else:
                frames.append(bytes(buffer[at + HEADER_BYTES : at + self._need]))
                at += self._need
                self._need = HEADER_BYTES
        del buffer[:at]
        return frames
