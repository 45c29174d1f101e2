"""Tryton 7 and 8 (docs.tryton.org): calls and mails are notes on the party, recordings and transcripts are files."""

from __future__ import annotations

from linker.crm.tryton.connector import connect

__all__ = ["connect"]
