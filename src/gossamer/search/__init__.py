"""Recipes in, measurements out."""
