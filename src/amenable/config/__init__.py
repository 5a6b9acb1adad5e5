"""Settings and the workspace folder. Torch-free."""
