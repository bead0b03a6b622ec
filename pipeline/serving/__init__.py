"""Answer requests for images over HTTP, and draw samples into a file."""
