"""One file is one shape of what becomes zero together."""
