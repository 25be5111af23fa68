"""The replicated store: k copies of every record, and not one acknowledged record lost. See docs/store.md."""
