"""`python -m stocksync` is the command `stocksync`."""

from stocksync.cli import main

if __name__ == "__main__":  # worker processes import this file again, under another name
    main()
