"""What the Dockerfile runs."""
