"""The live page: what a job of this process is doing, for browsers, for Prometheus, and for health checks."""
