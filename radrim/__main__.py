"""The command as `python -m radrim`."""

import sys

from radrim.cli.main import program

if __name__ == "__main__":
    sys.exit(program())
