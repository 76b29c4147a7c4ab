"""Fault injection: random histories of requests against real servers that are killed, cut off and raced."""
