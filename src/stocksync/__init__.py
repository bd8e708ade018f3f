"""stocksync keeps a database of China A-share stock basics true, and says exactly how that stands."""

__version__ = "0.1.0"
