"""Predictions, a row a sample: what an evaluation's figures were computed from, for one's own analysis and statistics."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.evaluation.judgements import Judgement
from featx.evaluation.outcomes import Outcomes

if TYPE_CHECKING:
    from featx.reporting.evaluations import Evaluation

__all__ = ["csv_bytes", "prediction_rows"]

_DIGITS = 6  # of a probability in a file: two models that differ less are one


def prediction_rows(evaluation: Evaluation, *, show_names: bool) -> list[dict[str, Any]]:
    """See :meth:`featx.Evaluation.predictions`."""
    found: dict[int, dict[str, Any]] = {}
    for judgement in evaluation.judgements:
        if (
            judgement.level == "sample"
        ):  # "as given" holds the rows of "only what training has not seen" again
            rows = zip(
                judgement.outcomes.samples.tolist(), _rows(judgement, evaluation, show_names), strict=True
            )
            found |= {sample: row for sample, row in rows if sample not in found}
    return [found[sample] for sample in sorted(found)]


def csv_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as CSV, UTF-8; columns that only some rows have are empty in the others."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, fieldnames=columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: _cell(name, value) for name, value in row.items()} for row in rows)
    return out.getvalue().encode("utf-8", errors="backslashreplace")  # a file's name may be no Unicode


def _rows(judgement: Judgement, evaluation: Evaluation, show_names: bool) -> list[dict[str, Any]]:
    outcomes, origin, trained = judgement.outcomes, evaluation.origin, evaluation.trained
    truth, predicted = _labels(outcomes, outcomes.truth), _labels(outcomes, outcomes.predicted)
    columns = _columns(outcomes)
    part = _part(judgement, evaluation)
    rows = []
    for at, sample in enumerate(outcomes.samples.tolist()):
        row: dict[str, Any] = {"position": int(origin.rows[sample])}
        if origin.places is not None:
            row["place"] = origin.places[sample]
        if show_names:
            row["name"] = evaluation.names[sample]
        if part is not None:
            row["part"] = part
        row |= {"fold": int(outcomes.folds[at]) + 1, "unit": int(outcomes.units[at])}
        if trained is not None:
            row["in_training"] = bool(trained[sample])
        row |= {"truth": truth[at], "predicted": predicted[at]}
        row |= {name: values[at] for name, values in columns.items()}
        rows.append(row)
    return rows


def _labels(outcomes: Outcomes, values: Any) -> list[Any]:
    labels = values if outcomes.classes is None else outcomes.classes[values]
    return list(np.asarray(labels).tolist())


def _columns(outcomes: Outcomes) -> dict[str, list[float]]:
    """Probabilities a class; scores where there are none; nothing of labels alone and of a regression."""
    if outcomes.classes is None or outcomes.scores is None:
        return {}
    kind, values = ("score", outcomes.scores) if outcomes.proba is None else ("p", outcomes.proba)
    labels = outcomes.classes.tolist()
    return {f"{kind}_{label}": values[:, c].tolist() for c, label in enumerate(labels)}


def _part(judgement: Judgement, evaluation: Evaluation) -> str | None:
    """The part of the split that was judged; None without a split."""
    parts = [each.part for each in evaluation.parts]
    return next((p for p in parts if judgement.part == p or judgement.part.startswith(f"{p}, ")), None)


def _cell(name: str, value: Any) -> Any:
    return f"{value:.{_DIGITS}g}" if name.startswith(("p_", "score_")) else value
