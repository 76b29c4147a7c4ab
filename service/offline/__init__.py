"""Predicts a whole file: sequences in, one answer each in the same order, with no server or through one.

    reader ──→ blocks ──→ processes with the engine, or requests to a server ──→ part of the output ──→ output
                                                                                  └ journal: how far it is

It knows files, blocks of sequences, processes, and how a run continues after a crash. It does not know the
command line; models and their engine are those of `repository` and `engine`, JSON and records those of
`codec`.
"""

from service.offline.job import Job, Summary
from service.offline.run import predict_file

__all__ = ["Job", "Summary", "predict_file"]
