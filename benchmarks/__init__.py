"""Benchmarks: compare Cellgate with other servers and with lower bounds in one run, over HTTP."""
