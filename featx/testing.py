"""Conformance suites and small seeded backbones, for featx's own tests and for yours.

Owns what "behaves like a features estimator" means. A suite is a class of tests: inherit it, give it what it asks for, and let
pytest run it. The backbones are real ONNX networks with random weights: they have learned nothing and compute in microseconds.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.inference.runtime import Session
from featx.testing_texts import tiny_text_backbone

__all__ = ["FeaturesConformance", "counted_rows", "tiny_backbone", "tiny_text_backbone"]


def tiny_backbone(
    folder: str | Path,
    *,
    seed: int = 0,
    size_px: int = 32,
    channels: tuple[int, ...] = (8, 12, 16),
    n_classes: int = 5,
    batch: int | str = "batch",
) -> Path:
    """Write a small convolutional network with random weights as a backbone folder.

    Parameters
    ----------
    folder : path
        Where ``model.onnx`` and ``preprocessor_config.json`` are written; made where it does not exist.
    seed : int
        Two seeds give two networks.
    size_px : int
        Edge of the square input.
    channels : tuple of int
        One strided 3 x 3 convolution with ReLU each.
    n_classes : int
        Length of the classifier's output.
    batch : int or str
        A fixed batch size, or the name of a dynamic one.

    Returns
    -------
    Path
        The folder. Its vectors have ``channels[-1]`` features.
    """
    rng = np.random.default_rng(seed)
    nodes, weights, last, width = [], [], "pixel_values", 3
    for at, n_out in enumerate(channels, start=1):
        # He-normal, so that activations keep their scale (He et al. 2015, eq. 10).
        kernel = rng.normal(0, np.sqrt(2 / (width * 9)), (n_out, width, 3, 3)).astype(np.float32)
        bias = rng.normal(0, 0.1, n_out).astype(np.float32)
        weights += [
            numpy_helper.from_array(kernel, f"conv{at}.weight"),
            numpy_helper.from_array(bias, f"conv{at}.bias"),
        ]
        nodes += [
            helper.make_node(
                "Conv",
                [last, f"conv{at}.weight", f"conv{at}.bias"],
                [f"conv{at}"],
                strides=[2, 2],
                pads=[1, 1, 1, 1],
            ),
            helper.make_node("Relu", [f"conv{at}"], [f"relu{at}"]),
        ]
        last, width = f"relu{at}", n_out
    head = rng.normal(0, 0.5, (n_classes, width)).astype(np.float32)
    weights.append(numpy_helper.from_array(head, "fc.weight"))
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["gap"]),
        helper.make_node("Flatten", ["gap"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc.weight"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [batch, 3, size_px, size_px])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, n_classes])],
        initializer=weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    config = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": size_px, "width": size_px},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return folder


class counted_rows:
    """Count the rows that sessions compute in this process, as ``with counted_rows() as rows: ...; rows.n``."""

    def __init__(self) -> None:
        self.n = 0

    def __enter__(self) -> counted_rows:
        self._run = run = Session.run
        counter = self

        def counting(session: Session, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
            counter.n += len(batch)
            return run(session, batch)

        Session.run = counting  # type: ignore[assignment,method-assign]  # the seam is the point of this class
        return self

    def __exit__(self, *exception: object) -> None:
        Session.run = self._run  # type: ignore[method-assign]  # restored


class FeaturesConformance:
    """What scikit-learn and featx promise of a features estimator; inherit it and define the two fixtures.

    ``features``
        An unfitted estimator with a ``cache`` of its own.
    ``samples``
        At least 24 distinct samples, as a list.
    """

    def test_init_keeps_parameters_as_given(self, features: Any) -> None:
        for name, value in features.get_params(deep=False).items():
            assert getattr(features, name) is value
        assert not [name for name in vars(features) if name.endswith("_")]

    def test_clone_has_equal_parameters(self, features: Any) -> None:
        assert repr(clone(features).get_params()) == repr(features.get_params())

    def test_vectors_are_float32_in_order_and_writable(self, features: Any, samples: list[Any]) -> None:
        fitted = features.fit(samples)
        vectors = fitted.transform(samples)
        assert vectors.shape == (len(samples), fitted.n_features_out_)
        assert vectors.dtype == np.float32
        assert vectors.flags.writeable
        assert np.isfinite(vectors).all()
        np.testing.assert_array_equal(fitted.transform(samples[::-1]), vectors[::-1])

    def test_one_sample_gives_its_row(self, features: Any, samples: list[Any]) -> None:
        fitted = clone(features).set_params(cache=None).fit(samples)
        together = fitted.transform(samples)
        alone = fitted.transform(samples[3:4])
        # float32 sums in another order for another batch: 1e-5 of the largest value covers it.
        np.testing.assert_allclose(alone[0], together[3], atol=1e-5 * float(np.abs(together).max()))

    def test_fit_does_not_look_at_X(self, features: Any) -> None:
        assert features.fit(None).n_features_out_ > 0

    def test_second_transform_runs_no_inference(self, features: Any, samples: list[Any]) -> None:
        first = features.fit(samples).transform(samples)
        with counted_rows() as rows:
            second = clone(features).fit(samples).transform(samples)
        assert rows.n == 0
        np.testing.assert_array_equal(first, second)

    def test_repeated_samples_are_computed_once(self, features: Any, samples: list[Any]) -> None:
        with counted_rows() as rows:
            vectors = features.fit(samples).transform(samples + samples[::-1])
        assert rows.n == len(samples)
        np.testing.assert_array_equal(vectors[: len(samples)], vectors[len(samples) :][::-1])

    def test_cross_validation_computes_each_sample_once(self, features: Any, samples: list[Any]) -> None:
        y = np.arange(len(samples)) % 2
        with counted_rows() as rows:
            cross_val_score(make_pipeline(features, StandardScaler(), LogisticRegression()), samples, y, cv=4)
        assert rows.n == len(samples)

    def test_pickled_estimator_gives_equal_vectors(self, features: Any, samples: list[Any]) -> None:
        fitted = features.fit(samples)
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(again.transform(samples), fitted.transform(samples))

    def test_feature_names_are_unique_and_as_many_as_columns(self, features: Any, samples: list[Any]) -> None:
        names = features.fit(samples).get_feature_names_out()
        assert len(set(names)) == len(names) == features.n_features_out_

    def test_set_output_gives_frames(self, features: Any, samples: list[Any]) -> None:
        import pandas as pd
        import polars as pl

        plain = clone(features).fit_transform(samples)
        for kind, frame_type in (("pandas", pd.DataFrame), ("polars", pl.DataFrame)):
            frame = clone(features).set_output(transform=kind).fit_transform(samples)
            assert isinstance(frame, frame_type)
            np.testing.assert_array_equal(frame.to_numpy(), plain)

    def test_column_transformer_takes_both_ways_of_naming_a_column(
        self, features: Any, samples: list[Any]
    ) -> None:
        import pandas as pd

        frame = pd.DataFrame(
            {"sample": pd.Series(samples, dtype=object), "age": np.arange(len(samples), dtype=float)}
        )
        plain = clone(features).fit_transform(samples)
        for column in ("sample", ["sample"]):
            both = ColumnTransformer([("f", clone(features), column), ("age", StandardScaler(), ["age"])])
            out = both.fit_transform(frame)
            assert out.shape == (len(samples), plain.shape[1] + 1)
            np.testing.assert_allclose(out[:, :-1], plain)
            assert both.get_feature_names_out()[-1] == "age__age"

    def test_bagging_over_a_pipeline_computes_each_sample_once(
        self, features: Any, samples: list[Any]
    ) -> None:
        y = np.arange(len(samples)) % 2
        column = np.empty((len(samples), 1), dtype=object)
        column[:, 0] = samples
        bagged = BaggingClassifier(
            make_pipeline(features, LogisticRegression()), n_estimators=4, random_state=0
        )
        with counted_rows() as rows:
            predicted = bagged.fit(column, y).predict(column)
        assert predicted.shape == y.shape
        assert rows.n == len(samples)

    def test_grid_search_over_taps_in_two_processes(
        self, features: Any, samples: list[Any], taps: list[Any]
    ) -> None:
        y = np.arange(len(samples)) % 2
        pipeline = make_pipeline(features, StandardScaler(), LogisticRegression())
        name = pipeline.steps[0][0]
        search = GridSearchCV(pipeline, {f"{name}__tap": taps}, cv=3, n_jobs=2, error_score="raise")
        search.fit(samples, y)
        assert len(search.cv_results_["mean_test_score"]) == len(taps)
