"""Arguments in, calls out; no logic."""
