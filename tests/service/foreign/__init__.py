"""Graphs as other people export them, and one law for each: served right, or refused with a reason."""
