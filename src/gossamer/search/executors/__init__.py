"""Executors of searches: one file each."""
