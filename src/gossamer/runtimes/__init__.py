"""One file is one runtime."""
