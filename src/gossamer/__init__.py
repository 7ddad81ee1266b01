"""A trained model in, the fastest model measured within an accuracy budget out."""

from __future__ import annotations

from gossamer.compress import compress
from gossamer.errors import GossamerError, InputError
from gossamer.result import Candidate, Result

__all__ = ["Candidate", "GossamerError", "InputError", "Result", "compress"]
