"""The command line: one short file per command. The only place that prints."""
