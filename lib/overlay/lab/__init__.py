"""Experiments: the papers' tables, by the code that runs on sockets. They yield progress and rows, and print nothing."""
