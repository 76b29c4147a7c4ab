"""Scripts that the Dockerfile runs, and those that run in a container."""
