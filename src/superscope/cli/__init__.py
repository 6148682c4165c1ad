"""The command line: `main` is the entry point, one file a group of commands."""
