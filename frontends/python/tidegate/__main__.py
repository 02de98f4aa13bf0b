"""The command line: `tidegate ...` and `python -m tidegate ...`."""

import sys

from ._tidegate import run_tool


def main() -> int:
    sys.stdout.flush()
    return run_tool(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
