"""Run the five stages: order, fingerprints, resume, results, cleanup."""
