"""The HTTP API for programs, below /api/v1: what people do on the pages, by the same store and the same rights.

``openapi.yaml`` is written first and by hand; tests hold the code to it.
"""
