"""`python -m gated`: the command line."""

from gated.cli import main

if __name__ == "__main__":
    main()
