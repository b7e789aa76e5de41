"""``export_backbone``: from a torch network to a backbone's folder.

Owns the order of things: what is wrong with the place or the source is said before the work, the graph agrees with its original
before anything is written, and the folder appears whole or not at all. torch and transformers are loaded when it is called.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx._version import __version__
from featx.backbones.backbone import Backbone
from featx.backbones.catalogue import EXPORTED
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.sources import CARD_NAME
from featx.backbones.text_preprocess import TOKENIZER_NAME
from featx.errors import ConversionError, FeatxError, MissingExtraError, ParameterError, did_you_mean
from featx.exporting.checkpoint import SCHEME, Checkpoint, open_checkpoint
from featx.exporting.folder import replaceable, staged, write_files
from featx.inputs.images import canonical, decode

if TYPE_CHECKING:
    import torch

    from featx.exporting.conversion import Conversion
    from featx.exporting.network import Original

__all__ = ["export_backbone"]

_PACKAGES = tuple(prefix for prefix in EXPORTED if prefix != SCHEME)
_EXTRA = ("torch", "transformers", "onnxscript")
_MODALITIES = ("image", "text")
_POOLINGS = ("cls", "last", "max", "mean")
_OPSETS = range(13, 24)


def export_backbone(
    source: str | os.PathLike[str] | torch.nn.Module,
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    example: Any = None,
    preprocess: ImagePreprocess | Mapping[str, Any] | None = None,
    tokenizer: Any = None,
    pooling: str | None = None,
    modality: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    output_names: Sequence[str] | None = None,
    samples: Sequence[Any] = (),
    opset: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a torch network as a backbone's folder, after comparing it with the original.

    Parameters
    ----------
    source : str, path or torch.nn.Module
        ``hf:owner/name[@revision]``, the folder of a transformers checkpoint, ``timm:name``, ``torchvision:name``, or a module
        that takes pictures (n, 3, h, w) float32, or ``input_ids`` and ``attention_mask`` (n, t) int64. A checkpoint is exported
        without its task's head. A module is put into evaluation mode for the while.
    out : path
        The folder to make.
    name : str, optional
        Short name for the card; None takes the folder's, by which featx calls it.
    example : tensor of shape (n, 3, h, w), optional
        For a module of pictures: one channel in it makes a network of grey pictures.
    preprocess : ImagePreprocess or dict, optional
        How pictures become the network's input; needed for a module, and for a checkpoint that does not say.
    tokenizer : tokenizer or path, optional
        For a module of texts: a fast tokenizer of transformers, a ``tokenizers.Tokenizer`` or the path of a ``tokenizer.json``.
    pooling : {"mean", "cls", "last", "max"}, optional
        How tokens become one vector, for texts whose source does not say.
    modality : {"image", "text"}, optional
        Which tower of a network that has both (CLIP); None takes that of pictures.
    image_size : int or (height, width), optional
        Pixels that the graph is fixed to; None takes what the preprocessing makes.
    output_names : sequence of str, optional
        What the outputs of a module are called. A name with ``logits`` in it makes the last dense layer a head, and one with
        ``embedding`` makes it part of the vector.
    samples : sequence, optional
        Real pictures (paths, bytes, PIL images, uint8 arrays) or texts to compare on, through the source's own preprocessing.
    opset : int, optional
        Of ONNX's operators; None takes 17, or what torch's newer exporter prefers where that one is needed.
    overwrite : bool, default=False
        Replace a backbone that is there. A folder with anything else in it is never replaced.

    Returns
    -------
    Path
        The folder: ``model.onnx``, what says how samples become its input, and the card ``featx.json`` with the agreement found.

    Raises
    ------
    ConversionError
        torch cannot export the network, what it exported differs from the original by more than 1e-4 of its largest value, or
        no vector can be taken from it.
    BackboneNotFoundError
        No such source, or the hub cannot be reached or refuses.
    PreprocessError
        How samples become the network's input is not known, or featx cannot express it.
    OutputError
        The folder cannot be written, or is there already.
    MissingExtraError
        torch, transformers or onnxscript is not installed.
    ParameterError
        An argument is wrong.

    Examples
    --------
    >>> featx.export_backbone("hf:microsoft/resnet-50", "resnet50")                                         # doctest: +SKIP
    PosixPath('/home/me/resnet50')
    """
    if "\0" in os.fspath(out) or (name is not None and not isinstance(name, str)):
        raise ParameterError(
            f"out and name must be the path of a folder and a string, got {out!r} and {name!r}."
        )
    target = Path(os.path.abspath(Path(out).expanduser()))
    _check(pooling=pooling, modality=modality, opset=opset)
    for given, values in (("samples", samples), ("output_names", output_names)):
        if isinstance(values, str | bytes):
            raise ParameterError(
                f"{given} must be a list, got the {type(values).__name__} {values!r:.40}. Give [{given}]."
            )
    replaceable(target, overwrite=overwrite)
    for package in _EXTRA:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f'exporting needs {package}, which is not installed: pip install "featx[finetune]"'
            )
    found = _found(source)  # before torch and transformers, which take seconds to load
    from featx.exporting.conversion import convert
    from featx.exporting.network import frozen
    from featx.exporting.tracing import quiet

    with quiet():
        original = _original(
            found,
            example=example,
            preprocess=preprocess,
            tokenizer=tokenizer,
            pooling=pooling,
            modality=modality,
            image_size=image_size,
            output_names=output_names,
        )
        with frozen(original.network.model), staged(target, overwrite=overwrite) as stage:
            write_files(original.files, stage)
            conversion = convert(original, stage, _samples(original, samples, stage), opset=opset)
            backbone = Backbone.open(stage)
            _refuse_useless(backbone, original.name)
            card = _card(original, conversion, backbone, name or target.name)
            write_files({CARD_NAME: card}, stage)
    return target


def _check(*, pooling: str | None, modality: str | None, opset: int | None) -> None:
    for name, value, known in (("pooling", pooling, _POOLINGS), ("modality", modality, _MODALITIES)):
        if value is not None and value not in known:
            raise ParameterError(
                f"{name} must be one of {', '.join(known)}, got {value!r}.{did_you_mean(str(value), known)}"
            )
    if opset is not None and opset not in _OPSETS:
        raise ParameterError(
            f"opset must be a whole number from {_OPSETS.start} to {_OPSETS.stop - 1}, got {opset!r}."
        )


def _found(source: Any) -> Any:
    """The checkpoint that a reference means; the names of other packages' networks, and modules, as they are."""
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        return source
    reference = os.fspath(source)
    if isinstance(source, str) and reference.partition(":")[0] in _PACKAGES:
        return reference
    return open_checkpoint(reference)


def _original(source: Any, **options: Any) -> Original:
    import torch

    from featx.exporting.checkpoints import from_checkpoint
    from featx.exporting.modules import from_module
    from featx.exporting.zoos import from_zoo

    of_module = ("example", "tokenizer", "output_names")
    if isinstance(source, torch.nn.Module):
        if options.pop("modality") is not None:
            raise ParameterError(
                "modality is for sources by name: a module takes what its preprocess or tokenizer makes."
            )
        return from_module(source, **options)
    if not isinstance(source, str | Checkpoint) or not source:
        raise ParameterError(
            f"source must be a reference, a folder or a torch.nn.Module, got {type(source).__name__} {source!r:.40}."
        )
    said = source if isinstance(source, str) else source.source
    for given in of_module:
        if options.pop(given) is not None:
            raise ParameterError(f"{given} is for a torch.nn.Module; {said} says it itself.")
    if isinstance(source, Checkpoint):
        return from_checkpoint(source, **options)
    for given in ("pooling", "modality"):
        if options.pop(given) is not None:
            raise ParameterError(f"{given} is for networks of texts, or of both; {said} takes pictures.")
    return from_zoo(source, **options)


def _samples(original: Original, given: Sequence[Any], stage: Path) -> list[Any]:
    """What to compare on besides random inputs, for :func:`featx.exporting.conversion.convert`."""
    from featx.exporting.inputs import ImageInputs
    from featx.exporting.texts import tokens_of

    if isinstance(original.inputs, ImageInputs):
        return [_drawn_picture(), *(_picture(one, original.inputs.preprocess) for one in given)]
    rows = tokens_of(stage / TOKENIZER_NAME, [str(text) for text in given], original.own_tokens)
    return [row[: original.inputs.longest] for row in rows]


def _picture(source: Any, preprocess: ImagePreprocess) -> Any:
    """A sample as uint8 RGB (h, w, 3), at its own size."""
    if isinstance(source, str | os.PathLike):
        try:
            source = Path(source).read_bytes()
        except OSError as error:
            raise ParameterError(f"samples: {source} cannot be read ({error.strerror or error}).") from error
    if isinstance(source, bytes):
        whole = ImagePreprocess(size=None, mean=(0, 0, 0), std=(1, 1, 1), background=preprocess.background)
        return decode(source, whole)
    return canonical(source, preprocess)


def _drawn_picture() -> Any:
    """A picture of an odd size, smooth in one half and noisy in the other, so that another filter or crop shows."""
    rows, columns = np.mgrid[0:233, 0:311]
    smooth = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1)
    noise = np.random.default_rng(0).integers(0, 256, smooth.shape)
    return np.where(columns[..., None] < 155, smooth, noise).astype(np.uint8)


def _refuse_useless(backbone: Backbone, name: str) -> None:
    """Raise ConversionError where no tap and no output of a graph becomes a vector a sample that can be told again."""
    reason = "it has no output"
    for tap in [tap.name for tap in reversed(backbone.info.taps)] or backbone.info.outputs:
        try:
            pooling = "mean" if backbone.tap(tap).kind == "tokens" else "auto"  # any will do here
            backbone.cut([backbone.space(tap, pooling)])
        except FeatxError as error:
            reason = str(error)
            continue
        return
    raise ConversionError(f"{name}: no vector can be taken from it: {reason} Nothing was written.")


def _card(original: Original, conversion: Conversion, backbone: Backbone, name: str) -> bytes:
    """What ``featx.json`` says."""
    from featx.exporting.agreement import TOLERANCE

    info = backbone.info
    notes = [*original.notes]
    if not any(tap.name == "pooled" for tap in info.taps):
        named = ", ".join(tap.name for tap in info.taps) or "none"
        notes.append(
            f"The graph does not end in one vector, map or token sequence: name a tap (of these: {named})."
        )
    values = {
        "name": name,
        "source": original.source,
        "revision": original.revision,
        "licence": original.licence,
        "digest": backbone.digest,
        "parameters": info.n_parameters,
        "taps": {tap.name: tap.channels for tap in info.taps},
        "exported": {
            "on": datetime.now(UTC).date().isoformat(),
            "with": f"torch.onnx.export, {conversion.exporter}",
            "opset": conversion.opset,
            "versions": _versions() | dict(original.versions),
            "passed_over": list(conversion.passed_over),
        },
        "agreement": {
            "measure": "max |difference| / max |original|",
            "allowed": TOLERANCE,
            "found": {what: float(f"{apart:.2g}") for what, apart in conversion.agreement.items()},
        },
        "notes": notes,
    }
    kept = {key: value for key, value in values.items() if value not in (None, [])}
    return json.dumps(kept, indent=2, ensure_ascii=False).encode() + b"\n"


def _versions() -> dict[str, str]:
    packages = {package: version(package).partition("+")[0] for package in ("torch", "transformers", "onnx")}
    return {"featx": __version__, **packages}
