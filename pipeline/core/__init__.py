"""Hold what every other folder needs: errors, environment, locks, URIs and names."""
