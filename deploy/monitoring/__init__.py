"""Monitoring of a server: Prometheus' configuration and alerts, a Grafana dashboard, a picture of it."""
