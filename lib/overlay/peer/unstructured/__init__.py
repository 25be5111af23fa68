"""Unstructured services to program with: `aio` has them as coroutines, `threads` blocking, `simulated` in virtual time."""
