"""Weights that are made zero, and what becomes of them."""
