"""`python -m codec`: the `lat` command."""

from codec.command.start import entry

if __name__ == "__main__":
    entry()
