"""The tests, under a name of their own: some installed packages bring a `tests` too."""
