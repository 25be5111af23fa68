"""The command lines: the only place that prints, parses arguments and exits."""
