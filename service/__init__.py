"""Serves recurrent sequence models over HTTP and keeps their memory between requests."""
