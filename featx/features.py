"""``ImageFeatures`` and ``TextFeatures``: scikit-learn transformers from samples to the vectors of a frozen backbone.

Owns the meaning of the estimators' own parameters. What they share is in :mod:`featx.backbone_features`.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.backbone_features import BackboneFeatures, Feed
from featx.backbones.backbone import Backbone, Preprocess
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.text_preprocess import TextPreprocess
from featx.backbones.window import Window
from featx.errors import FeatxWarning, ParameterError
from featx.inference.batching import ImageBatching, TokenBatching
from featx.inference.cut_texts import CutTexts
from featx.inference.devices import Device, default_batch, default_tokens
from featx.inference.extract import Extraction
from featx.inference.reading import ImageSource
from featx.inference.text_reading import TextSource
from featx.inputs.samples import as_samples
from featx.inputs.texts import TextTokenizer, as_texts
from featx.store.store import EmbeddingStore

__all__ = ["ImageFeatures", "TextFeatures"]

_PROBE_PX = 224
_PROBE_TEXTS = (
    "A row alone.",
    "The same row among others that are longer, and say quite different things: 3, 5, 8!",
    "x",
)
_TOKEN_STEP = 8
"""Lengths of texts on a GPU are multiples of this: few shapes, so few sets of kernels and allocations."""


class ImageFeatures(BackboneFeatures):
    """Embed images with a frozen ONNX backbone, each distinct image once.

    Vectors are kept in a store on disk and found by the content of the image and by everything that decides their value, so
    folds, grid points, clones and later runs read what the first one computed.

    Parameters
    ----------
    backbone : str, path or Backbone, default="compact"
        A name, a folder in Hugging Face layout, or an ``.onnx`` file.
    tap : str or list of str, default="pooled"
        Where the network is read: ``"pooled"`` (the vector before the classifier), ``"stage1"`` ..., ``"layer1"`` ..., or a
        tensor's own name. Several are computed in one run and concatenated.
    pooling : {"auto", "avg", "max", "gem", "cls", "mean"}, default="auto"
        How positions become one vector.
    preprocess : ImagePreprocess or dict, default=None
        Pixels to network input; None reads the backbone's own ``preprocessor_config.json``.
    window : Window or dict, default=None
        Which values of images of more than 8 bits become black and white: ``Window(-600, 1500)``, or ``Window.percentiles()``.
        None keeps that of the preprocessing, which usually has none: then DICOM files are shown as they say themselves.
    device : str, default="auto"
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"tensorrt"``. A device asked for by name computes, or raises.
    precision : {"float32", "float16"}, default="float32"
        Arithmetic of the network. The vectors are float32 in either case.
    cache : "default", path, EmbeddingStore or None, default="default"
        Where vectors are kept; None keeps none.
    batch_size : int, default=None
        Images a run; None chooses for the device.
    n_workers : int, default=None
        Threads that decode, and on a CPU also compute; None takes this process's share of the cores.
    on_error : {"raise", "nan"}, default="raise"
        What an image does that is missing (None, NaN) or cannot be read: raise, or become a row of NaN with one warning.
    verbose : bool, default=False
        Show progress.

    Attributes
    ----------
    spaces_ : list of FeatureSpace
        What the columns mean, a tap each.
    backbone_ : Backbone
        The backbone that was opened.
    n_features_out_ : int
        Length of a vector, all taps together.

    Notes
    -----
    X is a list, array, Series or one-column frame of paths, encoded bytes, PIL images or uint8 arrays (h, w), (h, w, 3) or
    (h, w, 4) in RGB order, or a 4-D uint8 stack (n, h, w, 3); a stack of grey images (n, h, w) is given as
    ``X[..., numpy.newaxis]``, as it could be one colour image. With a window, arrays of grey values may be of any integer or
    float type. Paths may be those of DICOM, NIfTI and MGZ files (extra ``medical``), with a frame or slice behind them:
    ``"scan.nii.gz#axial=40"``, ``"run.dcm#frame=7"``; without one, the middle one is meant.

    ``fit`` looks at the backbone, never at X.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> model = make_pipeline(ImageFeatures("resnet50", tap=["stage3", "pooled"]), LogisticRegression())
    """

    modality = "image"

    def __init__(
        self,
        backbone: str | os.PathLike[str] | Backbone = "compact",
        *,
        tap: str | list[str] = "pooled",
        pooling: str = "auto",
        preprocess: ImagePreprocess | dict[str, Any] | None = None,
        window: Window | dict[str, float] | None = None,
        device: str = "auto",
        precision: str = "float32",
        cache: str | os.PathLike[str] | EmbeddingStore | None = "default",
        batch_size: int | None = None,
        n_workers: int | None = None,
        on_error: str = "raise",
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.tap = tap
        self.pooling = pooling
        self.preprocess = preprocess
        self.window = window
        self.device = device
        self.precision = precision
        self.cache = cache
        self.batch_size = batch_size
        self.n_workers = n_workers
        self.on_error = on_error
        self.verbose = verbose

    def samples_of(self, X: Any) -> Sequence[Any]:
        windowed = self.backbone_.pixels().window is not None
        return as_samples(X, keep_errors=self.on_error == "nan", windowed=windowed)

    def _preprocess(self, own: Backbone) -> Preprocess | None:
        given = self.preprocess
        if isinstance(given, dict):
            given = ImagePreprocess.from_config(given)
        if self.window is None or not isinstance(given, ImagePreprocess | None):
            return given  # what is no preprocessing is refused where it is opened
        window = Window.from_dict(self.window) if isinstance(self.window, dict) else self.window
        return dataclasses.replace(own.pixels() if given is None else given, window=window)

    def _feed(self, backbone: Backbone, device: Device, store: EmbeddingStore | None) -> Feed:
        pixels = backbone.pixels()
        height, width = pixels.output_size or backbone.info.input_size or (_PROBE_PX, _PROBE_PX)
        size = int(self.batch_size or default_batch(device, height * width))
        row = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        # Contrast in the neighbours matters: a shared quantisation scale shows only where the range of the batch moves.
        crowd = np.concatenate([row, np.zeros_like(row), np.full_like(row, 255), 255 - row])
        return Feed(
            source=ImageSource(pixels), batching=ImageBatching(size), batch_size=size, probe=row, crowd=crowd
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class TextFeatures(BackboneFeatures):
    """Embed texts with a frozen ONNX encoder, each distinct text once.

    Vectors are kept in a store on disk and found by the text and by everything that decides their value, so folds, grid points,
    clones and later runs read what the first one computed.

    Parameters
    ----------
    backbone : str, path or Backbone, default="minilm"
        A name, a folder in Hugging Face layout with ``tokenizer.json``, or ``"hub:owner/name"``.
    tap : str or list of str, default="pooled"
        Where the network is read: ``"pooled"`` (its last tokens, or the sentence's vector where the graph makes one),
        ``"layer1"`` ..., or a tensor's own name. Several are computed in one run and concatenated.
    pooling : {"auto", "mean", "cls", "max", "last"}, default="auto"
        How tokens become one vector; ``"auto"`` is what the folder's own files say, and an error where they say nothing.
    max_length : int, default=None
        Longest input in tokens; what is longer is cut off at its end, with a warning that counts such texts, also those whose
        vectors were stored before; folds and repeats in one process warn of none twice. None takes the publisher's.
    prompt : str, default=None
        Put before every text, such as ``"query: "``; None takes the publisher's default prompt, which most have not.
    normalize : {"auto", True, False}, default="auto"
        Scale vectors to length 1; ``"auto"`` does what the publisher does.
    device : str, default="auto"
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"tensorrt"``. A device asked for by name computes, or raises.
    precision : {"float32", "float16"}, default="float32"
        Arithmetic of the network. The vectors are float32 in either case.
    cache : "default", path, EmbeddingStore or None, default="default"
        Where vectors are kept; None keeps none.
    batch_size : int, default=None
        Tokens a run, padding included; None chooses for the device.
    n_workers : int, default=None
        Threads that compute on a CPU; None takes this process's share of the cores.
    on_error : {"raise", "nan"}, default="raise"
        What a text does that is missing (None, NaN) or has no token: raise, or become a row of NaN with one warning.
    verbose : bool, default=False
        Show progress.

    Attributes
    ----------
    spaces_ : list of FeatureSpace
        What the columns mean, a tap each.
    backbone_ : Backbone
        The backbone that was opened.
    n_features_out_ : int
        Length of a vector, all taps together.

    Notes
    -----
    X is a list, array, Series or one-column frame of strings. ``fit`` looks at the backbone, never at X.

    An empty string, or one of white space, is a text like any other: its vector is what the network makes of a prompt and of
    the tokens that its tokenizer puts around every text. Where there is neither, it has no token and is an error, as None and
    NaN are.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> model = make_pipeline(TextFeatures("minilm"), LogisticRegression())
    """

    modality = "text"

    def __init__(
        self,
        backbone: str | os.PathLike[str] | Backbone = "minilm",
        *,
        tap: str | list[str] = "pooled",
        pooling: str = "auto",
        max_length: int | None = None,
        prompt: str | None = None,
        normalize: str | bool = "auto",
        device: str = "auto",
        precision: str = "float32",
        cache: str | os.PathLike[str] | EmbeddingStore | None = "default",
        batch_size: int | None = None,
        n_workers: int | None = None,
        on_error: str = "raise",
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.tap = tap
        self.pooling = pooling
        self.max_length = max_length
        self.prompt = prompt
        self.normalize = normalize
        self.device = device
        self.precision = precision
        self.cache = cache
        self.batch_size = batch_size
        self.n_workers = n_workers
        self.on_error = on_error
        self.verbose = verbose

    def samples_of(self, X: Any) -> Sequence[Any]:
        return as_texts(X, keep_errors=self.on_error == "nan")

    def _preprocess(self, own: Backbone) -> TextPreprocess:
        text = own.text()
        longest = own.info.n_tokens
        if longest is not None:  # the graph insists on its length
            text = dataclasses.replace(text, max_length=min(text.max_length, longest), max_positions=longest)
        if self.max_length is not None:
            text = dataclasses.replace(text, max_length=self.max_length)
        if self.prompt is not None:
            text = dataclasses.replace(text, prompt=self.prompt)
        if self.normalize == "auto":
            return dataclasses.replace(text, normalize=None)
        if not isinstance(self.normalize, bool | np.bool_):
            raise ParameterError(f'normalize must be "auto", True or False, got {self.normalize!r}.')
        return dataclasses.replace(text, normalize=bool(self.normalize))

    def _feed(self, backbone: Backbone, device: Device, store: EmbeddingStore | None) -> Feed:
        text = backbone.text()
        tokens = int(self.batch_size or default_tokens(device))
        batching = TokenBatching(
            tokens, step=1 if device.kind == "cpu" else _TOKEN_STEP, length=backbone.info.n_tokens
        )
        probes, _ = TextTokenizer(backbone.tokenizer_path, text).encode(_PROBE_TEXTS)
        return Feed(
            source=TextSource(backbone.tokenizer_path, text, CutTexts(text, store)),
            batching=batching,
            batch_size=max(1, tokens // _COMMON_TOKENS),
            probe=batching.alone().stacked(probes[:1], fixed=False),
            crowd=batching.stacked(probes, fixed=False),
        )

    def _warn_of_feed(self, feed: Feed, extraction: Extraction) -> None:
        source = feed.source
        n_cut = source.cut.count_untold(extraction.keys) if isinstance(source, TextSource) else 0
        if n_cut:
            text = self.backbone_.text()
            were = "was" if n_cut == 1 else "were"
            warnings.warn(
                f"{n_cut:,} of {len(extraction.keys):,} texts {were} cut off at {text.max_length:,} tokens. {_cut_advice(text)}",
                FeatxWarning,
                stacklevel=5,  # _warn_of_feed, extract, transform, scikit-learn's wrapper of transform
            )


def _cut_advice(text: TextPreprocess) -> str:
    if text.max_positions is None:
        return "Fit with a larger max_length, or split them."
    if text.max_length < text.max_positions:
        return f"Fit with a larger max_length, up to {text.max_positions:,} with this network, or split them."
    return "This network takes no longer input: split them, or choose another network."


_COMMON_TOKENS = 32
"""Tokens of a common short text."""
