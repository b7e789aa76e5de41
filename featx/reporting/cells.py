"""Values in the cells of a page's tables."""

from __future__ import annotations

from featx.evaluation.bootstrap import Estimate
from featx.reporting.markup import Markup, element, joined
from featx.reporting.wording import between, number

__all__ = ["stacked"]


def stacked(estimate: Estimate) -> Markup:
    """A value, and its interval on a line below where it has one: half as wide as side by side."""
    interval = between(estimate)
    if interval == "-":
        return joined([number(estimate.value)])
    dash = " to " if "-" in interval else "–"  # beside a minus a dash is one more
    return joined([number(estimate.value), element("small", interval.replace(" to ", dash))])
