"""What the library does on a GPU: whether it is right, how fast it is, and what its time goes into."""
