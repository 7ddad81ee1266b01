"""One file is one target, as pure data."""
