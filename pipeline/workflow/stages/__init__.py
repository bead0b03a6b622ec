"""The five stages, each a function from files and configuration to files, and their parts."""
