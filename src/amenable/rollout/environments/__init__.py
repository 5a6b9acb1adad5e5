"""The environments of the package, one file each."""
