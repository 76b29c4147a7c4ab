"""The code blocks of the documents, run in order in a clone of their own, twice."""
