"""Keep the files of a workspace, which is a folder or an object store."""
