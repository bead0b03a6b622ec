"""What every other folder may use: errors, environment, locks, URIs, names."""
