"""A backbone opened and described; the feature spaces it spans, and the graph cut for them.

The invariant: what a :class:`Backbone` says of its graph is true of the files that it was opened on, or is refused. It holds no
session, so it is cheap to copy, pickle and send to worker processes. Graphs are read on first need and remembered by digest for
the life of the process.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from featx.backbones.feature_space import FeatureSpace
from featx.backbones.graph import (
    GraphInfo,
    Tap,
    external_data,
    find_tap,
    inspect_graph,
    load_graph,
)
from featx.backbones.preprocess import MISSING_PREPROCESS_HELP, ImagePreprocess
from featx.backbones.sources import CARD_NAME, locate
from featx.backbones.surgery import PRECISIONS, cut_image_graph, cut_text_graph, resolve_pooling
from featx.backbones.text_in_graph import TextEnd
from featx.backbones.text_preprocess import TOKENIZER_NAME, TextPreprocess
from featx.backbones.tuned_on import read_tuned_on
from featx.backbones.weights_digest import weights_digest
from featx.errors import (
    BackboneError,
    DigestMismatchError,
    ParameterError,
    PreprocessError,
)
from featx.store.digest import Keys, canonical_json
from featx.store.files import FileDigests

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

__all__ = ["Backbone", "Preprocess"]

Preprocess: TypeAlias = ImagePreprocess | TextPreprocess

_parsed: dict[str, tuple[GraphInfo, dict[str, Tap]]] = {}
_parsed_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frozen network in an ONNX file, with the preprocessing it was trained with.

    Use :meth:`open`. Equal when digest and preprocessing are equal, wherever the files lie.

    Parameters
    ----------
    name : str
        Short name.
    model_path : Path
        The ``.onnx`` file.
    folder : Path
        The folder that describes it.
    digest : str
        32 hex digits over graph and weights, external data included.
    preprocess : ImagePreprocess, TextPreprocess or None
        Samples to network input; None where the files do not say.
    card : dict
        What ``featx.json`` says: licence, source, measured quality; where the files came from a hub, by which reference
        (``"source"``) and at which commit (``"revision"``). Empty where nothing is known.
    """

    name: str = field(compare=False)
    model_path: Path = field(compare=False)
    folder: Path = field(compare=False)
    digest: str
    preprocess: Preprocess | None
    card: dict[str, Any] = field(compare=False, default_factory=dict, hash=False, repr=False)

    @classmethod
    def open(
        cls,
        reference: str | os.PathLike[str] | Backbone,
        *,
        preprocess: Preprocess | dict[str, Any] | None = None,
        modality: str | None = None,
        files: FileDigests | None = None,
    ) -> Backbone:
        """Open a folder in Hugging Face layout, an ``.onnx`` file, or a backbone known by name.

        Parameters
        ----------
        reference : str, PathLike or Backbone
            See :func:`featx.backbones.sources.locate`.
        preprocess : ImagePreprocess, TextPreprocess or dict, optional
            Overrides what the folder says; where there is neither, the graph can be looked at but spans no feature space. A dict
            is read as a ``preprocessor_config.json``.
        modality : {"image", "text"}, optional
            Which preprocessing to read where a folder has both; None prefers that of images.
        files : FileDigests, optional
            The memory of file digests, which spares reading the weights again.

        Raises
        ------
        BackboneNotFoundError, PreprocessError, DigestMismatchError
        """
        given = ImagePreprocess.from_config(preprocess) if isinstance(preprocess, dict) else preprocess
        if given is not None and not isinstance(given, ImagePreprocess | TextPreprocess):
            raise ParameterError(
                f"preprocess must be an ImagePreprocess or a dict, got {type(given).__name__}."
            )
        if isinstance(reference, Backbone):
            return reference if given is None else _replaced(reference, given)
        located = locate(reference)
        card = _read_card(located.folder / CARD_NAME)
        digest = weights_digest(located.model_path, files or FileDigests(None))
        expected = card.get("digest")
        if expected is not None and expected != digest and located.is_main:
            raise DigestMismatchError(
                f"{located.model_path}: the weights are not those that {CARD_NAME} describes: expected digest {expected}, "
                f"found {digest}. The file was changed or its download is broken: fetch the folder again, or delete "
                f"{located.folder / CARD_NAME} if the change was meant."
            )
        chosen = given if given is not None else _own_preprocess(located.folder, modality)
        described = located.described(card)
        return cls(located.name, located.model_path, located.folder, digest, chosen, described)

    @property
    def tuned_on(self) -> Keys | None:
        """Content digests (n, 16) of the samples that it was tuned on, as its folder remembers them; None where it does not.

        Raises
        ------
        BackboneError
            The memory is damaged.
        """
        return read_tuned_on(self.folder)

    @property
    def info(self) -> GraphInfo:
        """What the graph is: inputs, layout, taps. Read on first use, then remembered by digest.

        Raises
        ------
        GraphError
            The file is not ONNX, is truncated, or is a graph featx cannot describe.
        """
        return self._parse()[0]

    def tap(self, name: str) -> Tap:
        """The tap of that name, or the tensor of that name.

        Raises
        ------
        GraphError
            No such tap; the message lists those there are.
        """
        info, taps = self._parse()
        if name not in taps:
            taps[name] = find_tap(info, self.graph(), name)
        return taps[name]

    def pixels(self) -> ImagePreprocess:
        """The preprocessing.

        Raises
        ------
        PreprocessError
            None was given and none lies beside the model; the message lists the fields to give.
        """
        if isinstance(self.preprocess, ImagePreprocess):
            return self.preprocess
        if self.preprocess is not None:
            raise PreprocessError(
                f"{self.model_path}: is an encoder of texts, with a {TOKENIZER_NAME}: TextFeatures is its estimator."
            )
        raise PreprocessError(
            f"{self.model_path}: no preprocessor_config.json beside it. {MISSING_PREPROCESS_HELP}"
        )

    def text(self) -> TextPreprocess:
        """The preprocessing of an encoder of texts.

        Raises
        ------
        PreprocessError
            There is no ``tokenizer.json``.
        """
        if isinstance(self.preprocess, TextPreprocess):
            return self.preprocess
        if self.info.modality == "image":
            raise PreprocessError(f"{self.model_path}: takes pictures: ImageFeatures is its estimator.")
        if self.tokenizer_path.is_file():
            raise PreprocessError(f"{self.model_path}: takes texts: TextFeatures is its estimator.")
        raise PreprocessError(
            f"{self.folder}: no {TOKENIZER_NAME} in it, which an encoder of texts needs. Fetch it from the model's publisher; a "
            "tokenizer of the older form is converted by transformers: "
            "AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)."
        )

    @property
    def tokenizer_path(self) -> Path:
        """The ``tokenizer.json`` of an encoder of texts."""
        return self.folder / TOKENIZER_NAME

    def graph(self) -> onnx.ModelProto:
        """The graph as it lies in the file; external data stays on disk."""
        return load_graph(self.model_path)

    def space(
        self, tap: str = "pooled", pooling: str = "auto", *, precision: str = "float32"
    ) -> FeatureSpace:
        """The feature space of one tap.

        Raises
        ------
        GraphError
            No such tap.
        ParameterError
            The pooling does not fit the tap, or the precision is unknown.
        """
        if precision not in PRECISIONS:
            raise ParameterError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
        if self.info.modality == "text":
            text, found = self.text(), self.tap(tap)
            if pooling == "auto" and found.kind == "tokens" and text.pooling is not None:
                pooling = text.pooling
            resolved = resolve_pooling(self.info, found, pooling)
            described = text.space_dict(resolved, published=_is_published(found))
        else:
            resolved = resolve_pooling(self.info, self.tap(tap), pooling)
            described = self.pixels().to_dict()
        return FeatureSpace(
            backbone_digest=self.digest,
            tap=tap,
            pooling=resolved,
            preprocess=canonical_json(described),
            precision=precision,
        )

    def n_features(self, space: FeatureSpace) -> int:
        """Length of the vectors of ``space``."""
        tap = self.tap(space.tap)
        if self.info.modality == "text":
            dense, _ = self.text().ends(space.pooling, published=_is_published(tap))
            if dense:
                return dense[-1].n_features
        return tap.channels

    def cut(self, spaces: Sequence[FeatureSpace]) -> onnx.ModelProto:
        """One graph from uint8 pixels, or token ids, to the vectors of all ``spaces``, in their order."""
        if self.info.modality == "text":
            return cut_text_graph(
                self.graph(),
                self.info,
                [self.tap(space.tap) for space in spaces],
                ends=[self._end(space) for space in spaces],
                pad_id=self.text().pad_id,
                first_position=self.text().first_position,
                precision=spaces[0].precision,
            )
        return cut_image_graph(
            self.graph(),
            self.info,
            [self.tap(space.tap) for space in spaces],
            poolings=[space.pooling for space in spaces],
            preprocess=self.pixels(),
            precision=spaces[0].precision,
        )

    def _end(self, space: FeatureSpace) -> TextEnd:
        dense, normalize = self.text().ends(space.pooling, published=_is_published(self.tap(space.tap)))
        return TextEnd(
            pooling=space.pooling,
            dense=[(*layer.read(), layer.activation) for layer in dense],
            normalize=normalize,
        )

    def external_data(self, model: onnx.ModelProto) -> dict[str, NDArray[np.uint8]]:
        """The external files that a graph from :meth:`cut` refers to, mapped into memory by name; empty where there are none."""
        return external_data(model, self.model_path.parent)

    def verify(self) -> None:
        """Read the files again in full and compare their digest with :attr:`digest`.

        Whoever has read the graph or its weights since :meth:`open` calls this afterwards: vectors of a file that was changed
        in between must not be taken for those of the file that was opened.

        Raises
        ------
        DigestMismatchError
            The files changed since the backbone was opened.
        """
        found = weights_digest(self.model_path, FileDigests(None))
        if found != self.digest:
            raise DigestMismatchError(
                f"{self.model_path}: changed since it was opened: expected digest {self.digest}, found {found}. "
                "Open the backbone and fit again, or put the file back."
            )

    @property
    def terms(self) -> str:
        """Licence and terms of use, as the card says them; empty where it says nothing."""
        parts = (str(self.card[name]).strip() for name in ("licence", "terms") if self.card.get(name))
        return " ".join(part if part.endswith((".", "!")) else f"{part}." for part in parts)

    def _parse(self) -> tuple[GraphInfo, dict[str, Tap]]:
        with _parsed_lock:
            if self.digest not in _parsed:
                info = inspect_graph(self.graph())
                self.verify()
                _parsed[self.digest] = info, {tap.name: tap for tap in info.taps}
            return _parsed[self.digest]


def _own_preprocess(folder: Path, modality: str | None) -> Preprocess | None:
    """What a folder says of its samples; of one that takes both, such as CLIP's, that of the modality asked for."""
    if modality == "text":
        return TextPreprocess.from_folder(folder)
    found = ImagePreprocess.from_folder(folder)
    return found if found is not None or modality == "image" else TextPreprocess.from_folder(folder)


def _is_published(tap: Tap) -> bool:
    """Whether a tap is the one that the publisher of an encoder of texts pools."""
    return tap.name == "pooled" and tap.kind == "tokens"


def _replaced(backbone: Backbone, preprocess: Preprocess) -> Backbone:
    return Backbone(
        backbone.name, backbone.model_path, backbone.folder, backbone.digest, preprocess, backbone.card
    )


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(f"{path}: not a readable card ({error}). Repair or delete it.") from error
    if not isinstance(card, dict):
        raise BackboneError(
            f"{path}: expected a JSON object, found {type(card).__name__}. Repair or delete it."
        )
    return card


def _after_fork() -> None:
    global _parsed_lock
    _parsed_lock = threading.Lock()  # a thread that held it does not exist in the child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
