"""amenable beside the systems that people use instead: the same work, turn by turn, in one run. See __main__.py."""
