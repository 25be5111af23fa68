"""Unstructured services, in two editions: the extreme one for networks in constant change, the stable one for the others."""
