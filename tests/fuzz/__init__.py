"""Mutated requests on a real server, on every route: no status 500, no hang, no growth, and it still answers.

`seeds` are valid requests, `mutate` changes them, `campaign` sends them and checks; `cases` holds requests
that once failed. `python -m tests.fuzz --requests 1000000` or `make fuzz` runs many.
"""
