"""One file is one way to say what a weight is worth."""
