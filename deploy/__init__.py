"""Deployment: the image, its tests, and the configuration of what runs around it."""
