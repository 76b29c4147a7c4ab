"""Compares Cellgate with its peers and with the floors, side by side in one run. Knows only their HTTP."""
