"""``ImageFeatures``: a scikit-learn transformer from images to the vectors of a frozen backbone.

Owns the meaning of the estimator's parameters. The work is in :mod:`featx.inference`, the vectors in :mod:`featx.store`.
"""

from __future__ import annotations

import os
import re
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from featx.backbones.backbone import Backbone, FeatureSpace
from featx.backbones.preprocess import ImagePreprocess
from featx.errors import FeatxWarning, ParameterError, SampleError, SpaceMismatchError, without_advice
from featx.inference.devices import cpu_threads, default_batch, parse_device, resolve_device
from featx.inference.extract import Extraction, Plan, extract
from featx.inference.runtime import Session, session_pool
from featx.inputs.samples import as_samples
from featx.progress import progress_bar
from featx.store.files import FileDigests
from featx.store.locate import open_cache
from featx.store.store import EmbeddingStore

__all__ = ["ImageFeatures"]

_PROBE_PX = 224


class ImageFeatures(TransformerMixin, BaseEstimator):
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
    ``X[..., numpy.newaxis]``, as it could be one colour image. ``fit`` looks at the backbone, never at X.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> model = make_pipeline(ImageFeatures("resnet50", tap=["stage3", "pooled"]), LogisticRegression())
    """

    def __init__(
        self,
        backbone: str | os.PathLike[str] | Backbone = "compact",
        *,
        tap: str | list[str] = "pooled",
        pooling: str = "auto",
        preprocess: ImagePreprocess | dict[str, Any] | None = None,
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
        self.device = device
        self.precision = precision
        self.cache = cache
        self.batch_size = batch_size
        self.n_workers = n_workers
        self.on_error = on_error
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> ImageFeatures:
        """Check the parameters and open the backbone; X is not looked at.

        Parameters
        ----------
        X : ignored
        y : ignored

        Raises
        ------
        ParameterError, BackboneError
        """
        self._check_parameters()
        backbone, spaces = self._resolve(open_cache(self.cache))
        self.backbone_ = backbone
        self.spaces_ = spaces
        self.n_features_out_ = sum(backbone.n_features(space) for space in spaces)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Vectors of the images in X.

        Parameters
        ----------
        X : sequence of images
            See the class's notes.

        Returns
        -------
        ndarray of float32, shape (n, n_features_out_)
            In the order of X, writable.

        Raises
        ------
        InputError
            X is not a sequence of images.
        SampleError
            An image cannot be read, with ``on_error="raise"``; what was computed before is stored.
        SpaceMismatchError
            The backbone or a parameter changed since ``fit``.
        DeviceError
            The device cannot compute.
        """
        extraction = self.extract(X)
        if extraction.errors:
            _warn_of(extraction.errors)
        return extraction.vectors

    def extract(self, X: Any) -> Extraction:
        """Like :meth:`transform`, with content digests and failures beside the vectors.

        Returns
        -------
        Extraction
            ``vectors``, ``keys``, ``errors`` by index, ``n_computed``.
        """
        check_is_fitted(self)
        self._check_parameters()
        store = open_cache(self.cache)
        backbone, spaces = self._resolve(store)
        if spaces != self.spaces_:
            changes = [
                line for old, new in zip(self.spaces_, spaces, strict=False) for line in old.differences(new)
            ]
            raise SpaceMismatchError(
                f"{type(self).__name__} was fitted in another feature space ({'; '.join(changes) or 'other taps'}). "
                "Fit again, or restore the backbone and parameters it was fitted with."
            )
        samples = as_samples(X, keep_errors=self.on_error == "nan")
        plan = self._plan(backbone, spaces, store)
        with progress_bar(len(samples), "embedding", enabled=bool(self.verbose)) as progress:
            return extract(samples, plan, advance=progress.update)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns: the tap and a number, ``pooled_0``, ``pooled_1`` ...

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str objects, shape (n_features_out_,)
        """
        check_is_fitted(self)
        prefixes = _identifiers([space.tap for space in self.spaces_])
        names = [
            f"{prefix}_{i}"
            for prefix, space in zip(prefixes, self.spaces_, strict=True)
            for i in range(self.backbone_.n_features(space))
        ]
        return np.asarray(names, dtype=object)

    def _check_parameters(self) -> None:
        parse_device(self.device)
        if self.on_error not in ("raise", "nan"):
            raise ParameterError(f'on_error must be "raise" or "nan", got {self.on_error!r}.')
        for name in ("batch_size", "n_workers"):
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1
            ):
                raise ParameterError(f"{name} must be a whole number of at least 1 or None, got {value!r}.")
        taps = self._taps()
        if not taps or not all(isinstance(tap, str) and tap for tap in taps):
            raise ParameterError(f"tap must be a name or a non-empty list of names, got {self.tap!r}.")
        if len(set(taps)) != len(taps):
            raise ParameterError(f"tap names a tap twice: {self.tap!r}.")

    def _taps(self) -> list[str]:
        return [self.tap] if isinstance(self.tap, str) else list(self.tap)

    def _resolve(self, store: EmbeddingStore | None) -> tuple[Backbone, list[FeatureSpace]]:
        backbone = Backbone.open(self.backbone, preprocess=self.preprocess, files=FileDigests(store))
        return backbone, [backbone.space(tap, self.pooling, precision=self.precision) for tap in self._taps()]

    def _plan(self, backbone: Backbone, spaces: list[FeatureSpace], store: EmbeddingStore | None) -> Plan:
        device = resolve_device(self.device)
        height, width = backbone.pixels().output_size or backbone.info.input_size or (_PROBE_PX, _PROBE_PX)

        def session() -> Session:
            key = (tuple(space.id for space in spaces), device)
            return session_pool().get(key, make)

        def make() -> Session:
            noise = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
            model = backbone.cut(spaces)
            session = Session(
                model.SerializeToString(),
                device=device,
                external=backbone.external_data(model),
                fixed_batch=backbone.info.fixed_batch,
                coupled=backbone.info.coupled_by is not None,
                probe=noise,
            )
            backbone.verify()  # what was loaded is what the spaces are named after
            return session

        return Plan(
            spaces=tuple(spaces),
            widths=tuple(backbone.n_features(space) for space in spaces),
            preprocess=backbone.pixels(),
            session=session,
            device=device,
            store=store,
            store_required=not (isinstance(self.cache, str) and self.cache == "default"),
            n_workers=int(self.n_workers or cpu_threads()),
            batch_size=int(self.batch_size or default_batch(device, height * width)),
            on_error=self.on_error,
            description={"backbone": backbone.name},
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.no_validation = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _identifiers(names: list[str]) -> list[str]:
    """Names as parts of column names; those that would be equal get their position."""
    plain = [re.sub(r"\W+", "_", name).strip("_") or "tap" for name in names]
    return [name if plain.count(name) == 1 else f"{name}_tap{at}" for at, name in enumerate(plain, 1)]


def _warn_of(errors: dict[int, SampleError]) -> None:
    first = [without_advice(str(errors[i])) for i in sorted(errors)[:3]]
    more = f" and {len(errors) - len(first)} more." if len(errors) > len(first) else ""
    warnings.warn(
        f"{len(errors)} sample(s) could not be embedded and are rows of NaN: {'; '.join(first)}{more}",
        FeatxWarning,
        stacklevel=4,  # _warn_of, transform, scikit-learn's wrapper of transform
    )
