"""Open raw images, and list what was used, skipped or found twice."""
