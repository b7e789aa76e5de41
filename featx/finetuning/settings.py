"""Parameters of :class:`featx.FineTuneClassifier`: checked, and told in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.augment import Augment
from featx.errors import ParameterError
from featx.finetuning.choosing import Choice
from featx.finetuning.course import EpochRecord
from featx.inference.devices import parse_device

__all__ = [
    "SEEDS",
    "augment_of",
    "boundary_of",
    "check_class_weight",
    "check_parameters",
    "fraction_of",
    "tell",
]

SEEDS = 2**32
"""Seeds are below this."""

_LARGEST_RATES = {"learning_rate": 1e30, "weight_decay": 1e6, "layer_decay": 1.0}
"""With them every step of AdamW is still a number in float32, however little sense it makes."""
_CLASS_WEIGHTS = (1e-6, 1e6)
"""A sum of these over a batch is neither 0 nor infinite in float32."""
_FRACTIONS = (1e-6, 0.5)


def check_parameters(given: Mapping[str, Any]) -> None:
    """Refuse parameters out of their range.

    Parameters
    ----------
    given : mapping
        Of :class:`featx.FineTuneClassifier`, by name.

    Raises
    ------
    ParameterError
    """
    for name, least, may_be_none in (
        ("epochs", 1, False),
        ("batch_size", 1, False),
        ("patience", 1, True),
    ):
        value = given[name]
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not (whole and value >= least) and not (value is None and may_be_none):
            or_none = " or None" if may_be_none else ""
            raise ParameterError(
                f"{name} must be a whole number of at least {least}{or_none}, got {value!r}."
            )
    for name, largest in _LARGEST_RATES.items():
        value, may_be_zero = given[name], name == "weight_decay"
        if not _is_number(value) or not 0 <= value <= largest or (value == 0 and not may_be_zero):
            bound = "of at least 0" if may_be_zero else "above 0"
            raise ParameterError(f"{name} must be a number {bound} and at most {largest:g}, got {value!r}.")
    for name in ("warm_start_head", "refit_head"):
        if not isinstance(given[name], bool | np.bool_):
            raise ParameterError(f"{name} must be True or False, got {given[name]!r}.")
    _check_weights(given["class_weight"])
    fraction_of(given["validation_fraction"])
    precision, device = given["precision"], given["device"]
    if precision not in ("auto", "float32", "bfloat16"):
        raise ParameterError(f"precision must be one of auto, float32, bfloat16, got {precision!r}.")
    parsed = parse_device(device)
    if parsed is not None and parsed.kind not in ("cpu", "cuda"):
        raise ParameterError(f"device must be auto, cpu, cuda or cuda:<index> to train, got {device!r}.")
    where = given["checkpoints"]
    if not (where is None or (isinstance(where, str | os.PathLike) and os.fspath(where))):
        raise ParameterError(f'checkpoints must be a folder, "default" or None, got {where!r}.')
    seed = given["random_state"]
    if seed is not None and (
        isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < SEEDS
    ):
        raise ParameterError(f"random_state must be a whole number from 0, or None, got {seed!r}.")


def boundary_of(freeze_until: str | float | None) -> str | float | None:
    """What ``freeze_until`` means to :func:`featx.finetuning.split_backbone`, which takes the share to train.

    Raises
    ------
    ParameterError
        Neither a name, nor a share from 0 to below 1, nor None.
    """
    if freeze_until is None or (isinstance(freeze_until, str) and freeze_until):
        return freeze_until
    if isinstance(freeze_until, str) or not _is_number(freeze_until) or not 0 <= freeze_until < 1:
        raise ParameterError(
            "freeze_until must be a tap, the share of the weights to freeze (from 0, below 1) or None, got "
            f"{freeze_until!r}."
        )
    return None if freeze_until == 0 else 1 - float(freeze_until)


def fraction_of(validation_fraction: float | None) -> float | None:
    """The share of the samples to validate on; None for none.

    Raises
    ------
    ParameterError
        Neither 0 or None nor a share up to a half.
    """
    if validation_fraction is None:
        return None
    least, largest = _FRACTIONS
    if _is_number(validation_fraction) and (
        validation_fraction == 0 or least <= validation_fraction <= largest
    ):
        return float(validation_fraction) or None
    raise ParameterError(
        f"validation_fraction must be a share up to {largest}, at least {least:g}, or 0 for none, got {validation_fraction!r}."
    )


def check_class_weight(class_weight: str | Mapping[Any, float] | None, labels: NDArray[Any]) -> None:
    """Refuse weights of classes that are not there while others have none, as scikit-learn does, but before the work.

    Raises
    ------
    ParameterError
    """
    if not isinstance(class_weight, Mapping):
        return
    classes = np.unique(labels).tolist()
    unknown = [name for name in class_weight if name not in classes]
    unweighted = [name for name in classes if name not in class_weight]
    if unknown and unweighted:
        raise ParameterError(
            f"class_weight: names {_listed(unknown)}, which y does not have, and not {_listed(unweighted)}. Name the classes "
            "of y as they are there, strings as strings."
        )


def augment_of(augment: Any) -> Augment | None:
    """What may happen to pictures; None where nothing does.

    Raises
    ------
    ParameterError
        Neither an ``Augment``, nor a mapping of its parameters, nor None.
    """
    found = Augment.from_dict(augment) if isinstance(augment, Mapping) else augment
    if found is None or (isinstance(found, Augment) and found.is_identity):
        return None
    if not isinstance(found, Augment):
        raise ParameterError(f"augment: expected a featx.Augment or None, found {found!r:.200}.")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _check_weights(class_weight: Any) -> None:
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return
    if not isinstance(class_weight, Mapping):
        raise ParameterError(
            f'class_weight must be "balanced", a dict of a weight a class, or None, got {class_weight!r:.200}.'
        )
    least, largest = _CLASS_WEIGHTS
    for name, weight in class_weight.items():
        if not _is_number(weight) or not least <= weight <= largest:
            raise ParameterError(
                f"class_weight: expected numbers from {least:g} to {largest:g}, found {weight!r} for {name!r}. Leave out the "
                "samples of a class that is not to count."
            )


def _listed(names: list[Any]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")


def tell(found: EpochRecord | Choice | str) -> None:
    """A line about an epoch, about what is kept, or as it stands, on standard error."""
    if isinstance(found, EpochRecord):
        found = _of_epoch(found)
    elif isinstance(found, Choice):
        found = _of_choice(found)
    print(found, file=sys.stderr, flush=True)


def _of_epoch(record: EpochRecord) -> str:
    values = asdict(record)
    words = [f"epoch {record.epoch}"]
    for name, title in (
        ("loss", "loss"),
        ("validation_loss", "validation loss"),
        ("validation_refined_loss", "refined"),
        ("validation_balanced_accuracy", "balanced accuracy"),
    ):
        if values[name] is not None:
            words.append(f"{title} {values[name]:.4f}")
    words.append(f"{record.seconds:.1f} s" if record.epoch else "the start")
    return ", ".join(words)


def _of_choice(choice: Choice) -> str:
    kept = {
        "trained": "kept: the tuned network with the head trained along",
        "refitted": "kept: the tuned network with a head fitted anew",
        "probe": "kept: the frozen network with its probe",
    }[choice.head]
    if choice.gain is None or choice.frozen is None or choice.tuned is None:
        return kept
    return (
        f"{kept}. Refined validation loss {choice.tuned.refined_loss:.4f} tuned, {choice.frozen.refined_loss:.4f} frozen "
        f"(difference {choice.gain.value:+.4f}, standard error {choice.gain.standard_error:.4f}, {choice.n_validation} samples)"
    )
