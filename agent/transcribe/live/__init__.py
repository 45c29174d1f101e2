"""Transcription while a call goes on."""
