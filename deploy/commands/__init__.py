"""The command line, one file a group; nothing heavy is imported before a command runs."""
