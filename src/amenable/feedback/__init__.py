"""Feedback: what people and simulated labelers say about responses, kept and turned into training data. Torch-free."""
