"""The ``featx`` command: each subcommand is a thin skin over one public function.

Owns exit statuses: 0 done, 1 something was found wrong (``doctor``, ``verify``), 2 a mistake of the user's, told in one line
without a traceback, 130 interrupted.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Parameters
    ----------
    arguments : list of str, optional
        Words after ``featx``; None takes those of the process.
    """
    from featx.cli.app import run

    return run(sys.argv[1:] if arguments is None else arguments)
