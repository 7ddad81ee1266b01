"""One file is one report format."""
