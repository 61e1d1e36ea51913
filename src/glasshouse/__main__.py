"""The `glasshouse` command. `verify` is answered by the verifier alone, without loading the other commands."""

import os
import sys
import time


def main() -> None:
    """Run the command line."""
    try:
        if sys.argv[1:2] == ["verify"]:
            from glasshouse.cli.verifying import main as verify

            code = verify(sys.argv[2:], int(time.time()))
            sys.stdout.flush()
            sys.exit(code)
        from glasshouse.cli.app import run

        run()
    except BrokenPipeError:
        # Whoever read the answer has closed the pipe; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
