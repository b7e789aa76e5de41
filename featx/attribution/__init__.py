"""Where in the picture, which words: what a prediction rests on, exactly where that can be said.

Average pooling and a linear head commute: the score of a sample is the mean over positions of each position's own score. Then
the evidence is no estimate but a way to write the score down. Where they do not commute, parts are covered and the change is
shown.
"""

from __future__ import annotations

from featx.attribution.evidence import evidence
from featx.attribution.maps import Evidence

__all__ = ["Evidence", "evidence"]
