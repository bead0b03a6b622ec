"""Open raw images, and list used, skipped and duplicate ones."""
