"""Proof by breaking: random histories against real servers that are killed, cut off and raced."""
