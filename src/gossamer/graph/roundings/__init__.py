"""One file is one way to choose the stored integers of a weight."""
