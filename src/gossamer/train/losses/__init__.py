"""One file is one way to measure how far a student is from what it shall become."""
