"""The heart: the story of one run (engine), one run at a time (runner), and how it stands (board)."""
