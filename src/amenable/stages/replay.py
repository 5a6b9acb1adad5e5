"""`amenable runs replay`: see resume.py, which holds both."""

from amenable.stages.resume import replay

__all__ = ["replay"]
