"""One file is one step from a torch module to a torch module."""
