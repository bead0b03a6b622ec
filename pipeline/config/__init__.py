"""The configuration: its schema, its parser, its checks, and the loader that joins them."""
