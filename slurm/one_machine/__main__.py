"""A SLURM on this machine: two nodes with two simulated GPUs each, accounting, and the partitions `debug` and `high`.

    eval "$(python -m slurm.one_machine up)"    # from here on, sbatch, squeue and sacct use it
    python -m slurm.one_machine down; unset SLURM_CONF

It is the real SLURM with munge and MariaDB, run by root or any other user, without systemd. All its files are in one
directory, and it serves only those who can read its munge key. The host's own SLURM, munge and MariaDB are not touched.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from slurm.one_machine import cluster
from slurm.one_machine.configuration import PORTS
from src.utils.errors import UserError

DEFAULT_PORT = 17001


def parse_arguments() -> argparse.Namespace:
    """Return the command with its options."""
    common = argparse.ArgumentParser(add_help=False)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    common.add_argument(
        "--directory", type=Path, default=Path(cache, "ap-loss/slurm"), help="of all its files (default: %(default)s)"
    )
    parser = argparse.ArgumentParser(
        "python -m slurm.one_machine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", parents=[common], help="start it, or those of its daemons that are not running")
    up.add_argument(
        "--port",
        type=_between(1024, 65536 - PORTS),
        default=DEFAULT_PORT,
        metavar="BASE",
        help=f"first of its {PORTS} ports (default: %(default)s); several can run side by side, each with another "
        "directory and other ports",
    )
    up.add_argument("--cpus", type=_between(1, 256), default=4, help="of each node (default: %(default)s)")
    removal = "stop it and remove its directory with jobs, accounting and logs, so that the next `up` starts afresh"
    down = commands.add_parser("down", parents=[common], help=removal, description=removal)
    down.add_argument("--keep", action="store_true", help="keep the directory: the next `up` continues with its jobs")
    commands.add_parser("status", parents=[common], help="show which of its daemons are running")
    return parser.parse_args()


def _between(least: int, most: int) -> Callable[[str], int]:
    """Return a converter of arguments that accepts the integers from `least` to `most`."""

    def number(text: str) -> int:
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return int(text)

    return number


def main() -> None:
    """Run the command line."""
    arguments = parse_arguments()
    directory = arguments.directory.expanduser().resolve()
    try:
        match arguments.command:
            case "up":
                cluster.up(directory, arguments.port, arguments.cpus)
            case "down":
                cluster.down(directory, keep=arguments.keep)
            case "status":
                cluster.status(directory)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


if __name__ == "__main__":
    main()
