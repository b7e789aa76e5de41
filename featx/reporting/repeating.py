"""What it takes to repeat an evaluation: the command or the estimator in full, settings, feature spaces, digests, versions.

Invariant: of a path only its last part is shown. A page travels, and folders are named after people and projects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featx.reporting.markup import Markup, element, joined, table
from featx.store.digest import canonical_json

if TYPE_CHECKING:
    from featx.reporting.evaluations import Evaluation

__all__ = ["repeat", "without_folders"]


def repeat(evaluation: Evaluation, versions: Sequence[tuple[str, str]], *, command: str | None) -> Markup:
    """The last section of a page.

    Parameters
    ----------
    evaluation : Evaluation
    versions : sequence of (str, str)
        Of what computed it, by name.
    command : str or None
        The line of a command line that made it, its folders left out already.
    """
    settings = {
        key: value for key, value in evaluation.settings.items() if key not in ("estimator", "features")
    }
    rows = [("data", evaluation.origin.dataset)] if evaluation.origin.dataset else []
    rows += [("digest of the data", evaluation.data_digest)]
    rows += [row for features in evaluation.settings.get("features", ()) for row in _features(features)]
    rows += [("id of the feature space", space) for space in evaluation.spaces]
    rows += [(key, _setting(value)) for key, value in settings.items()]
    rows += [("positive", evaluation.positive)] if evaluation.positive is not None else []
    rows += versions
    estimator = without_folders(str(evaluation.settings.get("estimator", "")))
    searched = ", ".join(evaluation.settings.get("param_grid") or {})
    note = (
        f"Searched, so what stands here is not what was used: {searched}. “Folds” has what each chose."
        if searched
        else None
    )
    return joined(
        [
            element("h2", "To repeat this"),
            element("p", "At the command line:", class_="note") if command else None,
            element("pre", command) if command else None,
            element("p", "The estimator, with every parameter:", class_="note") if estimator else None,
            element("pre", estimator) if estimator else None,
            element("p", note, class_="note") if note else None,
            table(
                "Settings, digests and versions",
                ["what", "value"],
                [[key, element("code", value)] for key, value in rows],
                numbers=False,
            ),
        ]
    )


def without_folders(text: str) -> str:
    """Text whose quoted paths keep their last part.

    Examples
    --------
    >>> without_folders("ImageFeatures(backbone='/home/jane/tiny')")
    "ImageFeatures(backbone='…/tiny')"
    """
    return re.sub(r"""(['"])(?:[A-Za-z]:)?[\\/][^'"\n]*[\\/]([^'"\\/\n]+)\1""", r"\1…/\2\1", text)


def _features(features: dict[str, Any]) -> list[tuple[str, str]]:
    """A feature space in words: what decides a vector's value."""
    where = f"tap {features['tap']}, pooling {features['pooling']}, {features['precision']}, rules {features['rules']}"
    return [
        ("backbone", f"{features['backbone']}, digest {features['backbone_digest']}"),
        ("vectors", where),
        ("preprocessing", canonical_json(features["preprocess"])),
    ]


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {', '.join(map(str, values))}" for key, values in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
