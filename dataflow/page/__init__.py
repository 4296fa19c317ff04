"""The live page: what a job of this process is doing, for a browser, for Prometheus and for whoever restarts it."""
