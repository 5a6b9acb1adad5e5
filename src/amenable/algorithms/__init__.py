"""One file per algorithm; see train/contract.py for what such a file holds."""
