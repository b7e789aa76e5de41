"""How pictures are varied for training: :class:`Augment`, and one :class:`View` of every picture under it.

A view is part of the preprocessing, so of the feature space: its vectors are stored and found like any others. What a view does
to a picture depends on the picture's content digest, the seed and the view's number alone, so it is the same in every process
and in any order. The pixels are made in :mod:`featx.inputs.views`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, SupportsFloat

from featx.errors import ParameterError, did_you_mean

__all__ = ["FILL_MODES", "VIEW_RULES", "Augment", "View"]

VIEW_RULES = 1
"""Version of the pixel rules of views, part of their feature spaces and of no others. Golden digests in the tests hold it."""

FILL_MODES = ("nearest", "constant", "reflect", "wrap")

_LARGEST_SHIFT_PX = 8192
_LARGEST_ZOOM = 10.0
_LARGEST_SHEAR_DEG = 60.0
_NO_CHANGE = (1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """What may happen to a picture of the training part, under the names of Keras's ``ImageDataGenerator``.

    Every parameter gives a range; a view draws from each evenly and independently. By default nothing happens.

    Parameters
    ----------
    rotation_range : float, default=0
        Degrees, 0 to 180: turned by up to so much either way.
    width_shift_range, height_shift_range : float, default=0
        Moved by up to so much either way: below 1 a share of the width (height), from 1 on pixels of the network's input.
    zoom_range : float or (lower, upper), default=0
        The extent shown, as a factor for each axis: below 1 shows less and larger, above 1 more and smaller. A number z is
        ``(1 - z, 1 + z)``.
    shear_range : float, default=0
        Degrees, 0 to 60.
    horizontal_flip, vertical_flip : bool, default=False
        Mirrored in half of the views.
    brightness_range : (lower, upper), optional
        A factor on every pixel, 1 leaves it.
    contrast_range : (lower, upper), optional
        A factor on the distance of every pixel from the picture's mean grey, 1 leaves it, 0 leaves grey.
    fill_mode : {"nearest", "constant", "reflect", "wrap"}, default="nearest"
        What is outside of the picture: ``aaa|abcd|ddd``, ``kkk|abcd|kkk`` with `cval`, ``cba|abcd|dcb``, ``bcd|abcd|abc``.
    cval : float, default=0
        Grey level 0 to 255 outside, for ``fill_mode="constant"``.

    Raises
    ------
    ParameterError
        A value out of its range.

    Notes
    -----
    Names and meanings are those of ``keras.preprocessing.image.ImageDataGenerator`` (Keras 2 and 3), with the same matrices in
    the same order (turn, shift, shear, zoom about the centre; then flips; then brightness), one bilinear interpolation, and
    after the resize to the network's input, as there. Different on purpose:

    - Draws are keyed by sample and view instead of taken from a global generator: views repeat, so they can be cached.
    - Shifts are numbers, drawn evenly; Keras takes an integer or a list as a choice of whole pixels.
    - ``wrap`` repeats with the picture's width; scipy's, which Keras uses, lets the last pixel and the first coincide.
    - Brightness multiplies pixels as they are; Keras 2 stretches each picture's values to 0 to 255 around that.
    - `contrast_range` is new, with the meaning of torchvision's ``ColorJitter`` and PIL's ``ImageEnhance.Contrast``.
    - Not here: what is fitted to data (``featurewise_*``, ``zca_whitening``), functions, which have no identity to cache by,
      ``rescale``, which the backbone's preprocessing does, and ``channel_shift_range``, a second brightness.

    Examples
    --------
    >>> Augment(rotation_range=15, zoom_range=0.15, horizontal_flip=True)
    Augment(rotation_range=15.0, zoom_range=(0.85, 1.15), horizontal_flip=True)
    >>> Augment().is_identity
    True
    """

    rotation_range: float = 0.0
    width_shift_range: float = 0.0
    height_shift_range: float = 0.0
    zoom_range: float | tuple[float, float] = _NO_CHANGE
    shear_range: float = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    brightness_range: tuple[float, float] | None = None
    contrast_range: tuple[float, float] | None = None
    fill_mode: str = "nearest"
    cval: float = 0.0

    def __post_init__(self) -> None:
        # Plain floats and pairs, so that equal values have equal identities.
        def keep(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        keep("rotation_range", _within("rotation_range", self.rotation_range, 180.0, "degrees"))
        keep("shear_range", _within("shear_range", self.shear_range, _LARGEST_SHEAR_DEG, "degrees"))
        for name in ("width_shift_range", "height_shift_range"):
            keep(name, _within(name, getattr(self, name), _LARGEST_SHIFT_PX, "a share below 1, or pixels"))
        keep("zoom_range", _zoom(self.zoom_range))
        for name in ("brightness_range", "contrast_range"):
            keep(name, _factors(name, getattr(self, name)))
        for name in ("horizontal_flip", "vertical_flip"):
            value = getattr(self, name)
            if type(value).__name__ not in ("bool", "bool_"):
                raise ParameterError(f"{name}: expected True or False, found {value!r}.")
            keep(name, bool(value))
        if not isinstance(self.fill_mode, str) or self.fill_mode not in FILL_MODES:
            raise ParameterError(
                f"fill_mode: expected one of {', '.join(FILL_MODES)}, found {self.fill_mode!r}."
                f"{did_you_mean(str(self.fill_mode), FILL_MODES)}"
            )
        keep("cval", _within("cval", self.cval, 255.0, "a grey level"))
        if self.cval and self.fill_mode != "constant":
            raise ParameterError(f'cval={self.cval:g}: has a meaning with fill_mode="constant" only.')

    @property
    def moves(self) -> bool:
        """Whether pixels may be moved otherwise than by flips."""
        turned = self.rotation_range or self.shear_range or self.width_shift_range or self.height_shift_range
        return bool(turned) or self.zoom_range != _NO_CHANGE

    @property
    def is_identity(self) -> bool:
        """Whether every view is the picture itself."""
        toned = self.brightness_range is not None or self.contrast_range is not None
        return not (self.moves or toned or self.horizontal_flip or self.vertical_flip)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Augment:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        ParameterError
            An unknown name, or a value out of its range.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(map(str, set(values) - set(known)))
        if unknown:
            raise ParameterError(
                f"augment: expected some of {', '.join(known)}; found {unknown[0]!r}.{did_you_mean(unknown[0], known)}"
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON has it: a parameter added later leaves spaces from before their ids."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in self._given().items()}

    def _given(self) -> dict[str, Any]:
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    def __repr__(self) -> str:
        return f"Augment({', '.join(f'{name}={value!r}' for name, value in self._given().items())})"


@dataclass(frozen=True, slots=True)
class View:
    """One view of every picture. Each picture has its own draw in it, and draws of different views are independent.

    Parameters
    ----------
    augment : Augment or dict
        What may happen.
    number : int
        From 1 on. The picture as it is counts as view 0 and has no ``View``.
    seed : int, default=0
        Another seed, other draws.

    Raises
    ------
    ParameterError

    Examples
    --------
    >>> View(Augment(horizontal_flip=True), 3).to_dict()
    {'augment': {'horizontal_flip': True}, 'number': 3, 'seed': 0, 'rules': 1}
    """

    augment: Augment
    number: int
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.augment, Mapping):
            object.__setattr__(self, "augment", Augment.from_dict(self.augment))
        if not isinstance(self.augment, Augment):
            raise ParameterError(f"view: expected a featx.Augment, found {self.augment!r}.")
        for name, lowest in (("number", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < lowest:
                raise ParameterError(
                    f"view: expected {name} as a whole number from {lowest} on, found {value!r}."
                )
            object.__setattr__(self, name, int(value))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> View:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        ParameterError
            Not such a dictionary, or one of other pixel rules than this version's.
        """
        known = {"augment", "number", "seed", "rules"}
        if set(values) != known or values["rules"] != VIEW_RULES:
            raise ParameterError(
                f"view: expected {', '.join(sorted(known))} of rules {VIEW_RULES}, found {dict(values)!r}."
            )
        return cls(values["augment"], values["number"], values["seed"])

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, with the number of the pixel rules."""
        return {
            "augment": self.augment.to_dict(),
            "number": self.number,
            "seed": self.seed,
            "rules": VIEW_RULES,
        }


def _number(name: str, value: Any) -> float:
    number = isinstance(value, SupportsFloat) and not isinstance(value, bool | str)
    if not number or not math.isfinite(float(value)):
        raise ParameterError(f"{name}: expected a finite number, found {value!r}.")
    return float(value) + 0.0  # -0.0 becomes 0.0: equal values must not differ as JSON


def _within(name: str, value: Any, largest: float, unit: str) -> float:
    number = _number(name, value)
    if not 0 <= number <= largest:
        raise ParameterError(f"{name}: expected {unit}, 0 to {largest:g}, found {value!r}.")
    return number


def _pair(name: str, value: Any) -> tuple[float, float]:
    if not hasattr(value, "__len__") or isinstance(value, str | Mapping) or len(value) != 2:
        raise ParameterError(f"{name}: expected (lower, upper), such as (0.8, 1.2), found {value!r}.")
    lower, upper = _number(name, value[0]), _number(name, value[1])
    if lower > upper:
        raise ParameterError(f"{name}: expected lower <= upper, found {value!r}.")
    return lower, upper


def _zoom(value: Any) -> tuple[float, float]:
    if not hasattr(value, "__len__"):
        z = _number("zoom_range", value)
        value = (1 - z, 1 + z)
    lower, upper = _pair("zoom_range", value)
    if lower <= 0 or upper > _LARGEST_ZOOM:
        raise ParameterError(
            f"zoom_range: expected factors above 0 and up to {_LARGEST_ZOOM:g}, or a number from 0 to below 1, found {value!r}."
        )
    return lower, upper


def _factors(name: str, value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    lower, upper = _pair(name, value)
    if lower < 0:
        raise ParameterError(f"{name}: expected factors of 0 and more, found {value!r}.")
    return None if (lower, upper) == _NO_CHANGE else (lower, upper)
