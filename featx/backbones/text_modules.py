"""What stands behind an encoder in a folder of sentence-transformers: pooling, dense layers, normalisation.

Read from ``modules.json`` and the folders that it names, or from a bare ``1_Pooling``. A step that featx cannot do exactly, or
does in another order, is refused by name, because vectors without it would be others than the publisher's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.backbones.safetensors_file import read_weights, weight_shapes
from featx.errors import PreprocessError
from featx.store.digest import digest_file

__all__ = ["Dense", "TextModules", "module_files", "read_modules", "read_object"]

_MODULES_NAME, _CONFIG_NAME, _WEIGHTS_NAME = "modules.json", "config.json", "model.safetensors"
_ALONE = PurePosixPath("1_Pooling")  # where exporters put the pooling, with modules.json or without
_OWN = "sentence_transformers."  # a module of somebody else's code may do anything
_VECTOR = "sentence_embedding"  # what modules work on once there is a pooling

# sentence-transformers, modules/pooling.py: modes and what featx calls them, and the flags of older files.
_POOLINGS = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last"}
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_DEFAULT_POOLING = "mean"  # theirs, where a file sets no flag
_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid")
_DEFAULT_ACTIVATION = "torch.nn.modules.activation.Tanh"  # sentence-transformers, modules/dense.py
_WEIGHT, _BIAS = "linear.weight", "linear.bias"
_WITHOUT = "Name the pooling you want in a copy of the folder without modules.json."


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A dense layer behind the pooling.

    Parameters
    ----------
    path : Path
        Its weights, a ``model.safetensors`` with ``linear.weight`` (out, in) and maybe ``linear.bias`` (out,).
    digest : str
        Of that file, 32 hex digits.
    activation : str
        ``"Identity"``, ``"Tanh"``, ``"ReLU"``, ``"GELU"`` or ``"Sigmoid"``, as torch.nn names them.
    n_features : int
        Length of the vectors that it makes.
    """

    path: Path = field(compare=False)
    digest: str
    activation: str
    n_features: int

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Weight (out, in) and bias (out,).

        Raises
        ------
        BackboneError
            The file is not readable.
        """
        found = read_weights(self.path, (_WEIGHT, _BIAS))
        return found[_WEIGHT], found.get(_BIAS)


@dataclass(frozen=True, slots=True)
class TextModules:
    """The publisher's steps behind an encoder, in this order.

    Parameters
    ----------
    pooling : {"cls", "mean", "max", "last"} or None
        None where the files do not say.
    dense : tuple of Dense
    normalized : bool
        Whether vectors are scaled to length 1.
    pools_prompt : bool
        Whether the tokens of a prompt are pooled with the others.
    """

    pooling: str | None = None
    dense: tuple[Dense, ...] = ()
    normalized: bool = False
    pools_prompt: bool = True


def read_modules(folder: Path) -> TextModules:
    """What a folder puts behind its encoder.

    Raises
    ------
    PreprocessError
        A file is missing or no JSON, or names a step that featx cannot do; the message names the file.
    """
    found = TextModules()
    for at, (kind, inside) in enumerate(_modules(folder)):
        place = folder / inside
        if kind == "Pooling" and found.pooling is None:
            found = _pooled(place / _CONFIG_NAME)
        elif kind == "Dense" and found.pooling is not None and not found.normalized:
            layers = (*found.dense, _dense(place))
            found = TextModules(found.pooling, layers, False, found.pools_prompt)
        elif kind == "Normalize" and found.pooling is not None:
            _refuse_other_input(place / _CONFIG_NAME)
            found = TextModules(found.pooling, found.dense, True, found.pools_prompt)
        elif kind != "Dropout" and (
            kind != "Transformer" or at > 0
        ):  # dropout does nothing once a network is trained
            before = [
                name for name, there in (("Pooling", found.pooling), ("Normalize", found.normalized)) if there
            ]
            raise PreprocessError(
                f"{folder / _MODULES_NAME}: module {kind!r}{f' behind {before[-1]!r}' if before else ''} is none that featx can "
                f"put there. It does Pooling, Dense and Normalize of sentence-transformers, in this order. {_WITHOUT}"
            )
    return found


def module_files(folder: Path) -> list[Path]:
    """The files that :func:`read_modules` reads, relative to the folder; those that are there.

    Raises
    ------
    PreprocessError
        As :func:`read_modules`.
    """
    names = [PurePosixPath(_MODULES_NAME)]
    for kind, inside in _modules(folder):
        if kind in ("Pooling", "Dense", "Normalize"):
            names.append(inside / _CONFIG_NAME)
        if kind == "Dense":
            names.append(inside / _WEIGHTS_NAME)
    return [Path(name) for name in names if (folder / name).is_file()]


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no file.

    Raises
    ------
    PreprocessError
        The file is not JSON, or no object.
    """
    values = _parse(path) if path.is_file() else {}
    if not isinstance(values, dict):
        raise PreprocessError(
            f"{path}: expected a JSON object, found {type(values).__name__}. Fetch it again."
        )
    return values


def _modules(folder: Path) -> list[tuple[str, PurePosixPath]]:
    """Kinds of the modules in order, and where their files lie in the folder. Somebody else's are known by their whole type."""
    path = folder / _MODULES_NAME
    if not path.is_file():
        return [("Pooling", _ALONE)] if (folder / _ALONE / _CONFIG_NAME).is_file() else []
    modules = _parse(path)
    if not isinstance(modules, list) or not all(isinstance(one, dict) for one in modules):
        raise PreprocessError(f"{path}: expected a list of modules. Fetch the folder again.")
    found = []
    for module in modules:
        name, inside = str(module.get("type", "")), PurePosixPath(str(module.get("path", "")))
        if inside.is_absolute() or ".." in inside.parts or "\\" in str(inside) or ":" in str(inside):
            raise PreprocessError(
                f"{path}: module {name!r} lies at {str(inside)!r}, outside of the folder. Take the folder from a publisher you "
                "trust."
            )
        kind = name.rsplit(".", 1)[-1]
        # The encoder is the ONNX file, whoever wrote the code around it.
        found.append((kind if name.startswith(_OWN) or kind == "Transformer" else name, inside))
    return found


def _pooled(path: Path) -> TextModules:
    if not path.is_file():
        raise PreprocessError(f"{path}: missing, and it says how tokens become one vector. Fetch it.")
    config = read_object(path)
    named = config.get("pooling_mode")
    modes = named if isinstance(named, list) else [named] if named else _flagged(config)
    poolings = [_POOLINGS.get(str(mode), str(mode)) for mode in modes]
    if len(poolings) != 1 or poolings[0] not in _POOLINGS.values():
        raise PreprocessError(
            f"{path}: pools by {' and '.join(poolings) or 'nothing'}; featx pools by one of {', '.join(_POOLINGS.values())}. "
            f"{_WITHOUT}"
        )
    # The last token is none of the prompt's.
    pools_prompt = config.get("include_prompt", True) is not False or poolings[0] == "last"
    return TextModules(poolings[0], pools_prompt=pools_prompt)


def _flagged(config: dict[str, Any]) -> list[str]:
    return [mode for flag, mode in _POOLING_FLAGS.items() if config.get(flag)] or [_DEFAULT_POOLING]


def _dense(folder: Path) -> Dense:
    path, weights = folder / _CONFIG_NAME, folder / _WEIGHTS_NAME
    config = read_object(path)
    _refuse_other_input(path)
    if config.get("use_residual"):
        raise PreprocessError(f"{path}: adds its input to its output (use_residual), which featx cannot do.")
    activation = str(config.get("activation_function", _DEFAULT_ACTIVATION))
    name = activation.rsplit(".", 1)[-1]
    if not activation.startswith("torch.nn.") or name not in _ACTIVATIONS:
        raise PreprocessError(
            f"{path}: activation {activation} is none of {', '.join(_ACTIVATIONS)} of torch.nn. featx cannot make these vectors."
        )
    if not weights.is_file():
        raise PreprocessError(
            f"{weights}: missing, and the dense layer's weights are needed. Fetch it; a pytorch_model.bin is a pickle, and not "
            "read."
        )
    shapes = weight_shapes(weights)
    shape = shapes.get(_WEIGHT, ())
    if len(shape) != 2 or 0 in shape:
        raise PreprocessError(f"{weights}: has no {_WEIGHT} (out, in). Fetch it again.")
    if shapes.get(_BIAS, shape[:1]) != shape[:1]:
        raise PreprocessError(
            f"{weights}: {_BIAS} has shape {shapes[_BIAS]}, expected {shape[:1]} as {_WEIGHT} has it. Fetch it again."
        )
    return Dense(path=weights, digest=digest_file(weights).hex(), activation=name, n_features=shape[0])


def _refuse_other_input(path: Path) -> None:
    """A module may be set to work on the tokens instead."""
    config = read_object(path)
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, _VECTOR):
            raise PreprocessError(
                f"{path}: {key} is {config[key]!r}, expected {_VECTOR!r}: featx applies it to the pooled vector only. {_WITHOUT}"
            )


def _parse(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise PreprocessError(f"{path}: cannot be read as JSON ({error}). Fetch it again.") from error
