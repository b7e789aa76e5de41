"""``featx doctor``: what works here, and why other things do not."""

from __future__ import annotations

import typer

from featx.cli.options import JsonOption
from featx.cli.output import print_json, say

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(as_json: JsonOption = False) -> None:
    """Say which devices work here, and why others do not.

    Exit status 1 where something is wrong that can be mended.
    """
    from featx.doctor import examine

    findings = examine()
    if as_json:
        print_json([{n: getattr(f, n) for n in ("name", "status", "detail", "advice")} for f in findings])
    else:
        for finding in findings:
            say(f"{finding.name:12} {finding.status:8} {finding.detail}")
            if finding.advice:
                say(f"{'':21} {finding.advice}")
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(1)
