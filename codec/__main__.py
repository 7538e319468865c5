"""`python -m codec`: the `lat` command."""

from codec.command.cli import main

if __name__ == "__main__":
    main(prog_name="lat")
