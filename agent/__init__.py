"""Cardline's capture agent: calls and mails in, client histories out. ARCHITECTURE.md draws the way."""

__version__ = "0.1.0"
