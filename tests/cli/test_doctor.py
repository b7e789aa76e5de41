"""``featx doctor``: findings in a table, as JSON, and an exit status for scripts."""

from __future__ import annotations

from typing import Any

import pytest

from featx import doctor
from featx.doctor import Finding


def findings(*statuses: str) -> list[Finding]:
    return [Finding(f"part{i}", status, "is so", "Do that.") for i, status in enumerate(statuses)]


def test_findings_and_advice_are_printed(featx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: findings("ok", "note"))
    ended = featx("doctor")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "part0        ok       is so",
        "                      Do that.",
        "part1        note     is so",
        "                      Do that.",
    ]


def test_a_problem_ends_with_status_1(featx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: findings("ok", "problem"))
    assert featx("doctor").status == 1
    as_json = featx("doctor", "--json")
    assert as_json.status == 1
    assert as_json.json[1] == {"name": "part1", "status": "problem", "detail": "is so", "advice": "Do that."}


def test_this_machine_can_be_examined(featx: Any) -> None:
    ended = featx("doctor", "--json")
    assert ended.status in (0, 1)
    assert {finding["name"] for finding in ended.json} >= {"cpu", "cuda", "cache"}
