"""Measurements of models, the statistics that make them honest, and the report that shows them."""
