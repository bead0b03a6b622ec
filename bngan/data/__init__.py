"""Images on disk and in memory: sources, decoding, memory-mapped splits, sample order."""
