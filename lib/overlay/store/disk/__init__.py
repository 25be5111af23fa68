"""A peer's disk: files and an index, on which everything below blocks."""

from overlay.store.disk.disk import EMPTY, FolderDisk
from overlay.store.disk.index import Index

__all__ = ["EMPTY", "FolderDisk", "Index"]
