"""The Python client of Cellgate."""
