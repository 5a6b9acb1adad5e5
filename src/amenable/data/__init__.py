"""Records from files, their splits and mixtures, and the rows and batches made of them."""
