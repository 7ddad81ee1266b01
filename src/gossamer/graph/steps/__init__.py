"""One file is one graph step."""
