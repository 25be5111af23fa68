"""What is measured, and against what. `python -m benchmarks` prints the table; README.md explains every row."""
