"""One file is one technique that attaches to a training loop."""
