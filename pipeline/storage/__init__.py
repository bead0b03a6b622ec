"""The workspace, a folder or an object store, and what lies in it."""
