"""Child processes, interleaved blocks, intervals, environment."""
