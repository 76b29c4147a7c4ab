"""The website of docs/: its pages by task, reference pages made from the code, and plain copies for machines.

It knows the files of docs/ and the public names of the packages. It knows nothing of how a server works.
"""
