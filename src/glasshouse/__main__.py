"""The `glasshouse` command. `verify` is answered by the verifier alone, without loading anything else."""

import sys
import time


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["verify"]:
        from glasshouse_verify.cli import main as verify

        sys.exit(verify(sys.argv[2:], int(time.time())))
    from glasshouse.cli.app import run

    run()


if __name__ == "__main__":
    main()
