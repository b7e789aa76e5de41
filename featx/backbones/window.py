"""Which values of a deep image become black and white: :class:`Window`.

Images of more than 8 bits (CT, MR, 16-bit microscopy) have no single picture: a CT slice is another one in a lung window than in
a bone window. A window is part of the preprocessing, so of the feature space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, SupportsFloat

from featx.errors import ParameterError

__all__ = ["Window"]

_FIELDS = ("center", "width", "low", "high")


@dataclass(frozen=True, slots=True, repr=False)
class Window:
    """What becomes black and what white.

    Values of up to ``center - width / 2`` become 0, those from ``center + width / 2`` on 255, and those between them grey in
    proportion: DICOM's LINEAR_EXACT (PS3.3, C.11.2.1.3.2), in every format. Values are in the units of the file: of a CT
    Hounsfield units, after the file's own slope and intercept.

    Parameters
    ----------
    center : float, optional
        The value that becomes middle grey.
    width : float, optional
        From black to white; above 0.
    low, high : float, optional
        Instead of these: percentiles, see :meth:`percentiles`.

    Raises
    ------
    ParameterError
        Neither pair is complete, or a number makes no sense.

    Notes
    -----
    Usual for CT: lung ``Window(-600, 1500)``, soft tissue ``Window(40, 400)``, bone ``Window(400, 1800)``, brain
    ``Window(40, 80)``.

    Examples
    --------
    >>> Window(-600, 1500)
    Window(-600.0, 1500.0)
    >>> Window.percentiles(), str(Window.percentiles(2, 98))
    (Window.percentiles(1.0, 99.0), 'percentiles 2 to 98')
    """

    center: float | None = None
    width: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        given = tuple(name for name in _FIELDS if getattr(self, name) is not None)
        if given not in (_FIELDS[:2], _FIELDS[2:]):
            raise ParameterError(
                f"window: expected a center and a width, such as Window(-600, 1500), or percentiles, Window.percentiles(1, 99); "
                f"found {' and '.join(given) or 'nothing'}."
            )
        for name in given:  # plain floats, so that equal windows are equal as JSON
            object.__setattr__(self, name, _finite(name, getattr(self, name)))
        if self.width is not None and self.width <= 0:
            raise ParameterError(f"window: expected a width above 0, found {self.width:g}.")
        if self.low is not None and self.high is not None and not 0 <= self.low < self.high <= 100:
            raise ParameterError(
                f"window: expected percentiles 0 <= low < high <= 100, found {self.low:g} and {self.high:g}."
            )

    @classmethod
    def percentiles(cls, low: float = 1, high: float = 99) -> Window:
        """From the `low`-th to the `high`-th percentile of each picture's own values.

        Of a volume the picture is the slice. Padding (DICOM) and values that are not finite do not count. The same tissue is
        another grey in every picture, so prefer a window in the file's units where these mean something.
        """
        return cls(low=low, high=high)

    @classmethod
    def parse(cls, text: str) -> Window:
        """A window from words of a command line: ``"-600,1500"``, ``"percentiles"`` or ``"percentiles:2,98"``.

        Raises
        ------
        ParameterError

        Examples
        --------
        >>> Window.parse("-600,1500") == Window(-600, 1500)
        True
        """
        kind, colon, rest = text.strip().rpartition(":")
        if not colon and rest == "percentiles":
            return cls.percentiles()
        try:
            first, second = (float(number) for number in rest.split(","))
        except ValueError:
            kind = "?"
        if not colon and kind == "":
            return cls(first, second)
        if kind == "percentiles":
            return cls.percentiles(first, second)
        raise ParameterError(
            f"window={text!r}: expected CENTER,WIDTH such as -600,1500, or percentiles, or percentiles:LOW,HIGH."
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Window:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        ParameterError
        """
        unknown = sorted(set(values) - set(_FIELDS))
        if unknown:
            raise ParameterError(f"window: expected some of {', '.join(_FIELDS)}, found {unknown[0]!r}.")
        return cls(**values)

    def to_dict(self) -> dict[str, float]:
        """The pair that was given, as JSON has it."""
        pairs = {name: getattr(self, name) for name in _FIELDS}
        return {name: value for name, value in pairs.items() if value is not None}

    def __str__(self) -> str:
        if self.center is not None:
            return f"center {self.center:g}, width {self.width:g}"
        return f"percentiles {self.low:g} to {self.high:g}"

    def __repr__(self) -> str:
        if self.center is not None:
            return f"Window({self.center!r}, {self.width!r})"
        return f"Window.percentiles({self.low!r}, {self.high!r})"


def _finite(name: str, value: Any) -> float:
    number = isinstance(value, SupportsFloat) and not isinstance(value, bool | str)
    if not number or not math.isfinite(float(value)):
        raise ParameterError(f"window: expected a finite number as {name}, found {value!r}.")
    return float(value) + 0.0  # -0.0 becomes 0.0
