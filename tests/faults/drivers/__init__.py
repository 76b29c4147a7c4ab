"""The ways in which a history is sent: HTTP by hand, the Python client, streams, tokens, rewinds."""
