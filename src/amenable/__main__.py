"""`python -m amenable` is `amenable`."""

from amenable.cli.main import main

if __name__ == "__main__":
    main()
