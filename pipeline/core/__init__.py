"""Errors, environment, locks, URIs and names, for every other folder."""
