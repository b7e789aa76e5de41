"""Trained weights written into a copy of the graph that they came from, as a backbone's folder of its own.

Nothing is exported again: only the bytes of the trained weights differ, in the types that the file has them in, so taps, names
and operators stay and digest and feature spaces change. The folder is compared with the module before it appears, and appears
whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from featx._version import __version__
from featx.backbones.backbone import Backbone
from featx.backbones.golden import golden_vectors
from featx.backbones.graph import external_files
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.shapes import is_stored_outside
from featx.backbones.sources import CARD_NAME, TUNED_ON_NAME
from featx.backbones.text_preprocess import TextPreprocess, published_files
from featx.backbones.tuned_on import tuned_on_bytes
from featx.errors import ConversionError, GraphError, ParameterError
from featx.exporting.folder import replaceable, staged, write_files
from featx.finetuning.agreement import difference, tolerance
from featx.finetuning.graph_module import GraphModule
from featx.finetuning.splitting import Split
from featx.finetuning.weights import as_stored, encoded, outside, read_weight, weight_protos
from featx.store.digest import Keys

__all__ = ["write_back"]

_MODEL_NAME, _CONFIG_NAME = "model.onnx", "preprocessor_config.json"
_LEGAL = re.compile(r"(licen[cs]e|notice|copying)(\.(md|txt))?", re.IGNORECASE)
_KEPT = ("licence", "license", "terms", "pooling")
_UNCHANGED_NOTE = (
    "Its weights are those of {origin}, unchanged: no training of them was kept, so nothing was fine-tuned."
)
_HEAD_NOTE = (
    "Layers of the file behind the trained tap, a classifier say, were not trained and no longer fit it."
)


def write_back(
    module: GraphModule,
    split: Split,
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    card: Mapping[str, Any] | None = None,
    tuned_on: Keys | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a trained backbone as a folder.

    Parameters
    ----------
    module : GraphModule
        Of ``split``, trained. Not changed.
    split : Split
        Its backbone's files must be those that the module was made from.
    out : path
        The folder to make.
    name : str, optional
        Short name for the card; None takes the folder's.
    card : mapping, optional
        Further entries of ``featx.json``, as JSON can say them: the data, the settings and the figures of the training. Those
        that are written anyway keep what is true of the files.
    tuned_on : ndarray of uint8, shape (n, 16), optional
        Content digests of the samples of the training, for :attr:`featx.Backbone.tuned_on`; those of the backbone that it came
        from are kept with them. None keeps none of either.
    overwrite : bool, default=False
        Replace a backbone that featx wrote. A folder with anything else in it is never replaced.

    Returns
    -------
    Path
        The folder: ``model.onnx`` and its external files, what says how samples become its input, and the card, with the
        backbone that it came from, what was trained, the new digest and golden vectors. Where no weight differs it is a copy with
        the digest of its origin, and the card says ``copied`` and no ``finetuned``.

    Raises
    ------
    ParameterError
        The module is not of this split.
    ConversionError
        The written graph does not compute what the module does, or lost a tap.
    GraphError
        A weight is not finite in the file's type, or the network makes nothing finite of an ordinary sample.
    DigestMismatchError
        The backbone's files changed since it was opened.
    OutputError
        The folder cannot be written, or is there already.
    """
    if tuple(name for name, _ in module.named_initialisers()) != split.trainable:
        raise ParameterError(
            "module: made from another split; its weights are not those that this one trains."
        )
    target = Path(os.path.abspath(Path(out).expanduser()))
    replaceable(target, overwrite=overwrite)
    backbone = split.backbone
    with staged(target, overwrite=overwrite) as stage:
        changed = _write_graph(module.arrays(), backbone, stage)
        backbone.verify()  # what was copied is what was opened
        _copy_description(backbone, stage)
        written = Backbone.open(stage, modality=backbone.info.modality)
        found = _agreement(module, split, Backbone.open(written, preprocess=backbone.preprocess))
        values = dict(card or {}) | _card(split, written, found, name or target.name, changed=changed)
        files = {CARD_NAME: json.dumps(values, indent=2, ensure_ascii=False).encode() + b"\n"}
        if tuned_on is not None:
            earlier = backbone.tuned_on
            memory = tuned_on if earlier is None else np.concatenate([earlier, tuned_on])
            if len(memory):
                files[TUNED_ON_NAME] = tuned_on_bytes(memory)
        write_files(files, stage)
    return target


# Graph


def _write_graph(arrays: Mapping[str, NDArray[Any]], backbone: Backbone, folder: Path) -> bool:
    """A copy of the file in which only the bytes of the given weights differ; external files keep their names.

    Returns whether any weight differs.
    """
    source = backbone.model_path.parent
    for file in external_files(backbone.model_path):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, folder / file)
    model = onnx.load(backbone.model_path, load_external_data=False)
    external = backbone.external_data(model)
    protos = weight_protos(model)
    changed = False
    for name, values in arrays.items():
        proto = protos.get(name, protos.get(name.removeprefix("original/")))
        if proto is None:
            raise GraphError(
                f"{backbone.model_path}: weights {name!r} are inside a function of the file, where they cannot be written."
            )
        if np.array_equal(as_stored(values, proto), read_weight(proto, external).astype(np.float32)):
            continue  # of a float64 weight the digits that the training does not have stay as well
        changed = True
        content = encoded(values, proto)
        if is_stored_outside(proto):
            file, offset = outside(proto)
            with open(folder / file, "r+b") as stream:
                stream.seek(offset)
                stream.write(content)
        else:
            _replace_content(proto, content)
    if changed:
        (folder / _MODEL_NAME).write_bytes(model.SerializeToString())
    else:
        shutil.copyfile(backbone.model_path, folder / _MODEL_NAME)
    return changed


def _replace_content(proto: onnx.TensorProto, content: bytes) -> None:
    for kind in ("float_data", "int32_data", "double_data"):  # where files keep float16 and bfloat16 as well
        proto.ClearField(kind)
    proto.raw_data = content


# What lies beside it


def _copy_description(backbone: Backbone, folder: Path) -> None:
    """How samples become the network's input, as the publisher says it, and under what terms."""
    copied = [Path(entry.name) for entry in backbone.folder.iterdir() if _LEGAL.fullmatch(entry.name)]
    if backbone.info.modality == "text":
        copied += published_files(backbone.folder)
    elif ImagePreprocess.from_folder(backbone.folder) == backbone.preprocess:
        copied += [path for path in [Path(_CONFIG_NAME)] if (backbone.folder / path).is_file()]
    for path in copied:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(backbone.folder / path, folder / path)
    if backbone.info.modality == "image" and not (folder / _CONFIG_NAME).is_file():
        text = json.dumps(backbone.pixels().to_config(), indent=2) + "\n"
        write_files({_CONFIG_NAME: text.encode()}, folder)
    # What a user set for texts, a prompt or a shorter input, is theirs to set again; of pictures the configuration holds all.
    published = (
        TextPreprocess.from_folder(backbone.folder)
        if backbone.info.modality == "text"
        else backbone.preprocess
    )
    made = Backbone.open(folder, modality=backbone.info.modality).preprocess
    if made != published:
        raise ConversionError(
            f"{backbone.folder}: its preprocessing would change with its files copied: {published} would become {made}. Repair "
            "the configurations of the folder."
        )


def _agreement(module: GraphModule, split: Split, written: Backbone) -> float:
    lost = [tap.name for tap in split.backbone.info.taps if tap not in written.info.taps]
    if lost:
        raise ConversionError(f"{split.backbone.name}: taps {', '.join(lost)} are lost in the written graph.")
    found, allowed = difference(module, split, written), tolerance(written)
    if not found <= allowed:  # also where it is NaN
        raise ConversionError(
            f"{split.backbone.name}: the written graph differs from the trained module by {found:.2g} of the largest number, "
            f"expected at most {allowed:g}. Nothing was written; use the module that was made from this split."
        )
    return found


def _card(split: Split, written: Backbone, found: float, name: str, *, changed: bool) -> dict[str, Any]:
    origin = split.backbone
    came_from = {
        "name": origin.name,
        "digest": origin.digest,
        "source": origin.card.get("source"),
        "revision": origin.card.get("revision"),
    }
    came_from = {key: value for key, value in came_from.items() if value is not None}
    made = {
        "on": datetime.now(UTC).date().isoformat(),
        "versions": {"featx": __version__, "torch": version("torch").partition("+")[0]},
    }
    trained = {
        "tap": split.space.tap,
        "pooling": split.space.pooling,
        "frozen_up_to": [one.tensor for one in split.boundary],
        "trained_weights": split.n_trainable,
    }
    note = _HEAD_NOTE if changed else _UNCHANGED_NOTE.format(origin=origin.name)
    values = {
        "name": name,
        # Not the origin's: a reference to a hub must not lead to this folder.
        "source": f"{'fine-tuned' if changed else 'copied'} from {origin.name}",
        **{key: origin.card.get(key) for key in _KEPT},
        "digest": written.digest,
        "parameters": written.info.n_parameters,
        "taps": {tap.name: tap.channels for tap in written.info.taps},
        **(
            {"finetuned": {"from": came_from, **trained, **made}}
            if changed
            else {"copied": {"from": came_from, **made}}
        ),
        "agreement": {
            "measure": "max |difference| / max |module|",
            "allowed": tolerance(written),
            "found": float(f"{found:.2g}"),
        },
        "notes": list(dict.fromkeys([*origin.card.get("notes", []), note])),  # once, of what was tuned again
        "golden": golden_vectors(written),
    }
    return {key: value for key, value in values.items() if value not in (None, {}, [])}
