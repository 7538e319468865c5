"""The `lat` command: what it says, asks and prints."""
