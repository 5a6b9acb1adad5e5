"""The mathematics of learning from people: pure functions, tensors in, tensors out, built on torch alone.

docs/objectives.md lists every formula with its source, its file and its test.
"""
