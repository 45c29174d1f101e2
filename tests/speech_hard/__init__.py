"""Sounds of a telephone in which nobody speaks, and speech that is hard to hear; made by script, see README.md."""
