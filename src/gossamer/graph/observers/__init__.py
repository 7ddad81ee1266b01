"""One file is one range rule."""
