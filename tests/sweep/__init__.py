"""Seeded runs of simulated rings under faults: first everything goes wrong, then nothing does, then all must be right."""
