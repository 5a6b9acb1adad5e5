"""The stages: wiring from a config to a finished run, each read top to bottom."""
