"""Engines that generate responses, and the environments that they act in."""
