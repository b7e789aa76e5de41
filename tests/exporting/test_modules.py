"""Any torch module as a backbone: its mode, its outputs' names, its inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import Backbone, ImageFeatures, ImagePreprocess, TextFeatures, export_backbone
from featx.errors import ConversionError, ParameterError, PreprocessError

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript", reason="the exporters of torch need onnxscript")
nn = torch.nn

PREPROCESS = ImagePreprocess(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
# float32 roundings in another order
TOLERANCE = 1e-5


def convolutions(channels: int = 3, *, n_out: int = 10) -> Any:
    """A network of two convolutions, a norm that evaluation changes, dropout, and a dense layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 20, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(20, n_out),
    )


class Encoder(nn.Module):
    """An embedding, attention and a norm; called like transformers' encoders."""

    def __init__(self, n_words: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.norm = nn.Embedding(n_words, 16), nn.LayerNorm(16)

    def forward(self, input_ids: Any, attention_mask: Any) -> dict[str, Any]:
        x = self.words(input_ids)
        scores = (x @ x.transpose(1, 2)).masked_fill(attention_mask[:, None] == 0, -1e9)
        return {"last_hidden_state": self.norm(x + scores.softmax(-1) @ x), "attentions": None}


def pixels(n: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def as_input(pictures: np.ndarray) -> Any:
    values = (pictures / 255 - 0.5) / 0.25
    return torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32))


def assert_close(found: np.ndarray, expected: Any) -> None:
    expected = expected.detach().numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()


def test_a_classifier_becomes_the_vector_before_its_last_layer(tmp_path: Path) -> None:
    module = convolutions()
    folder = export_backbone(module, tmp_path / "out", preprocess=PREPROCESS, name="mine")
    found = ImageFeatures(folder, cache=None).fit_transform(pixels())
    with torch.no_grad():
        assert_close(found, module.eval()[:-2](as_input(pixels())))
    card = Backbone.open(folder).card
    assert (card["name"], card["source"]) == ("mine", "torch module Sequential")


def test_the_module_is_left_in_the_mode_it_was_in(tmp_path: Path) -> None:
    module = convolutions()
    module[1].eval()
    running = module[1].running_mean.clone()
    export_backbone(module, tmp_path / "out", preprocess=PREPROCESS)
    assert [part.training for part in module] == [True, False, *[True] * 7]
    assert module.training
    assert torch.equal(module[1].running_mean, running)
    assert module[0].weight.requires_grad


@pytest.mark.parametrize(
    ("n_out", "names", "n_features"),
    [(64, None, 64), (64, ["logits"], 20), (10, None, 20), (10, ["embedding"], 10)],
)
def test_what_an_output_is_called_decides_whether_it_is_a_head(
    n_out: int, names: list[str] | None, n_features: int, tmp_path: Path
) -> None:
    module = convolutions(n_out=n_out)
    folder = export_backbone(module, tmp_path / "out", preprocess=PREPROCESS, output_names=names)
    assert Backbone.open(folder).tap("pooled").channels == n_features


def test_an_example_of_one_channel_makes_a_network_of_grey_pictures(tmp_path: Path) -> None:
    module = convolutions(1)
    folder = export_backbone(
        module, tmp_path / "out", preprocess=PREPROCESS, example=torch.zeros(1, 1, 32, 32)
    )
    found = ImageFeatures(folder, cache=None).fit_transform(pixels())
    grey = as_input(pixels() @ np.array([[0.299], [0.587], [0.114]]))
    with torch.no_grad():
        assert_close(found, module.eval()[:-2](grey))


def test_channels_in_another_order_are_compared_in_it(tmp_path: Path) -> None:
    swapped = ImagePreprocess(size=(32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), channel_order="bgr")
    module = convolutions()
    folder = export_backbone(module, tmp_path / "out", preprocess=swapped)
    values = (pixels()[..., ::-1] / 255 - np.array([0.4, 0.5, 0.6])) / np.array([0.2, 0.25, 0.3])
    inputs = torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32))
    with torch.no_grad():
        expected = module.eval()[:-2](inputs)
    assert_close(ImageFeatures(folder, cache=None).fit_transform(pixels()), expected)


def test_an_encoder_of_texts(tiny_tokenizer: Any, tmp_path: Path) -> None:
    module = Encoder(len(tiny_tokenizer)).eval()
    folder = export_backbone(module, tmp_path / "out", tokenizer=tiny_tokenizer, pooling="mean")
    texts = ["the cat sat on the mat.", "dog"]
    found = TextFeatures(folder, cache=None).fit_transform(texts)
    rows = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([tiny_tokenizer(text)["input_ids"]])
            rows.append(module(ids, torch.ones_like(ids))["last_hidden_state"][0].mean(0))
    assert_close(found, torch.stack(rows))


def test_a_text_longer_than_the_network_takes_is_told(tiny_tokenizer: Any, tmp_path: Path) -> None:
    class Positioned(Encoder):
        def forward(self, input_ids: Any, attention_mask: Any) -> dict[str, Any]:
            if input_ids.shape[1] > 24:
                raise IndexError("index out of range in self")
            return super().forward(input_ids, attention_mask)

    with pytest.raises(
        ConversionError, match=r"does not run on random, batch of 3.*the limit of its tokenizer"
    ):
        export_backbone(Positioned(len(tiny_tokenizer)), tmp_path / "long", tokenizer=tiny_tokenizer)
    tiny_tokenizer.model_max_length = 24
    module = Positioned(len(tiny_tokenizer))
    folder = export_backbone(module, tmp_path / "out", tokenizer=tiny_tokenizer, samples=["the cat " * 50])
    assert Backbone.open(folder).text().max_length == 24
    assert "samples" in Backbone.open(folder).card["agreement"]["found"]


def test_a_classifier_of_transformers_is_a_module_too(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", minversion="5.0")
    torch.manual_seed(0)
    config = transformers.ConvNextConfig(hidden_sizes=[8, 12], depths=[1, 1], num_stages=2, image_size=32)
    model = transformers.ConvNextForImageClassification(config).eval()
    folder = export_backbone(model, tmp_path / "out", preprocess=PREPROCESS)
    backbone = Backbone.open(folder)
    assert backbone.info.outputs == ("logits",)
    with torch.no_grad():
        expected = model.convnext(as_input(pixels())).pooler_output
    assert_close(ImageFeatures(folder, cache=None).fit_transform(pixels()), expected)


def test_a_tokenizer_may_be_a_file(tiny_tokenizer: Any, tmp_path: Path) -> None:
    file = tmp_path / "words.json"
    tiny_tokenizer.backend_tokenizer.save(str(file))
    module = Encoder(len(tiny_tokenizer))
    folder = export_backbone(module, tmp_path / "out", tokenizer=file)
    assert (folder / "tokenizer.json").read_bytes() == file.read_bytes()
    assert Backbone.open(folder).text().pooling is None


class Counts(nn.Module):
    """Its trace by running keeps a number of the example; ``torch.export`` follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = convolutions()[:-2]

    def forward(self, x: Any) -> Any:
        return self.inner(x) * x[:1].max().item()


def test_a_number_that_tracing_froze_is_found_and_the_other_exporter_asked(tmp_path: Path) -> None:
    folder = export_backbone(Counts(), tmp_path / "out", preprocess=PREPROCESS)
    card = Backbone.open(folder).card["exported"]
    assert card["with"].endswith("torch.export")
    assert "random, batch of 1 differs by" in card["passed_over"][0]


class Branches(nn.Module):
    """Another result for dark pictures, which no exporter follows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = convolutions()[:-2]

    def forward(self, x: Any) -> Any:
        made = self.inner(x)
        return made if x.mean() > 0 else -3 * made


def test_a_graph_that_disagrees_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(
        ConversionError, match=r"(?s)TorchScript: .*differs by.*torch\.export: .*Nothing was written"
    ):
        export_backbone(Branches(), tmp_path / "out", preprocess=PREPROCESS)
    assert list(tmp_path.iterdir()) == []


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.inner, self.value = convolutions()[:-2], value

    def forward(self, x: Any) -> Any:
        return self.inner(x) * self.value


@pytest.mark.parametrize(("value", "words"), [(0.0, "zero throughout"), (float("nan"), "not finite")])
def test_an_original_that_says_nothing_is_refused(value: float, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=words):
        export_backbone(Constant(value), tmp_path / "out", preprocess=PREPROCESS)
    assert list(tmp_path.iterdir()) == []


def refusals() -> dict[str, tuple[dict[str, Any], type[Exception], str]]:
    """Options, the error, words of its message."""
    free = ImagePreprocess(size=32, mean=(0, 0, 0), std=(1, 1, 1))
    given = {"preprocess": PREPROCESS}
    return {
        "nothing said of the input": ({}, ParameterError, "either a preprocess.*or a tokenizer"),
        "both": ({**given, "tokenizer": "x.json"}, ParameterError, "either a preprocess"),
        "no tokenizer": ({"tokenizer": "nowhere.json"}, ParameterError, "tokenizer must be"),
        "no one size": ({"preprocess": free}, PreprocessError, "no one size"),
        "no preprocess": ({"preprocess": 3}, ParameterError, "preprocess must be an ImagePreprocess"),
        "another example": (
            {**given, "example": torch.zeros(1, 3, 40, 40)},
            ParameterError,
            r"\(n, 3, 32, 32\).*\(1, 3, 40, 40\)",
        ),
        "channels it does not take": (
            {**given, "example": torch.zeros(1, 1, 32, 32)},
            ConversionError,
            "does not run on pixel_values of shape",
        ),
        "too many names": ({**given, "output_names": ["a", "b"]}, ParameterError, "2 for 1 outputs"),
        "pooling": ({**given, "pooling": "average"}, ParameterError, "pooling must be one of"),
        "pooling of pictures": ({**given, "pooling": "mean"}, ParameterError, "is for texts"),
        "modality": ({**given, "modality": "image"}, ParameterError, "modality is for sources by name"),
        "opset": ({**given, "opset": 3}, ParameterError, "opset must be a whole number from 13"),
        "size": ({**given, "image_size": 0}, ParameterError, "image_size must be"),
        "size of texts": (
            {"tokenizer": "x.json", "image_size": 32},
            ParameterError,
            "are for pictures, and a tokenizer for texts",
        ),
    }


@pytest.mark.parametrize("case", refusals())
def test_mistakes_are_told_and_nothing_is_written(case: str, tmp_path: Path) -> None:
    options, error, words = refusals()[case]
    with pytest.raises(error, match=words):
        export_backbone(convolutions(), tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_float32_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"torch\.float16.*module\.float\(\)"):
        export_backbone(convolutions().half(), tmp_path / "out", preprocess=PREPROCESS)


def test_a_module_without_a_tensor_is_refused(tmp_path: Path) -> None:
    class Nothing(nn.Module):
        def forward(self, x: Any) -> str:
            return "nothing"

    with pytest.raises(ConversionError, match="returns str without a tensor"):
        export_backbone(Nothing(), tmp_path / "out", preprocess=PREPROCESS)


@pytest.mark.parametrize("source", [3, "", None])
def test_what_is_no_source_is_refused(source: Any, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="source must be"):
        export_backbone(source, tmp_path / "out")


def test_options_of_modules_are_refused_elsewhere(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"output_names is for a torch\.nn\.Module"):
        export_backbone(checkpoint("resnet"), tmp_path / "out", output_names=["a"])


@pytest.mark.parametrize("opset", [13, 18])
def test_another_opset_is_kept_to(opset: int, tmp_path: Path) -> None:
    folder = export_backbone(convolutions(), tmp_path / "out", preprocess=PREPROCESS, opset=opset)
    backbone = Backbone.open(folder)
    assert backbone.info.opset == backbone.card["exported"]["opset"] == opset


class Made(nn.Module):
    """One convolution, so that there are no stages to take vectors from, and something done with its mean."""

    def __init__(self, then: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.then = then

    def forward(self, x: Any) -> Any:
        return self.then(self.inner, x)


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (
            lambda inner, x: nn.functional.dropout(inner(x), 0.5, training=True),
            "when it runs again: something in it",
        ),
        (lambda inner, x: inner(x) * (1 + 1e-7 * torch.randn(1)), "depends on RandomNormal"),
        (lambda inner, x: {}["a"], "does not run on pixel_values.*KeyError: 'a'"),
        (lambda inner, x: None, "^the module returns NoneType without a tensor"),
        (lambda inner, x: inner(x).sum(), r"no vector can be taken from it: tensor 'output' of shape \(\)"),
        (lambda inner, x: inner(x) > 0, "no vector can be taken from it"),
    ],
    ids=["dropout", "noise", "raises", "nothing", "scalar", "truth"],
)
def test_what_makes_no_vectors_that_can_be_told_again_is_not_written(
    then: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=words):
        export_backbone(Made(then), tmp_path / "out", preprocess=PREPROCESS)
    assert list(tmp_path.iterdir()) == []


def test_a_module_may_write_into_its_input(tmp_path: Path) -> None:
    """What the graph is compared on is not what the module left of it."""
    network = Made(lambda inner, x: inner(x.mul_(2)))
    export_backbone(network, tmp_path / "out", preprocess=PREPROCESS)


def test_weights_without_values_are_refused_and_stay_without(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    with pytest.raises(ParameterError, match=r"1\.weight have no values yet"):
        export_backbone(network, tmp_path / "out", preprocess=PREPROCESS)
    assert isinstance(network[1], nn.LazyLinear)


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit:DeprecationWarning"
)  # torch's own, when it loads its compiler
def test_wrappers_around_a_module_are_taken_off(tmp_path: Path) -> None:
    plain = convolutions().eval()
    for i, wrapped in enumerate((nn.DataParallel(plain), torch.compile(plain))):
        card = Backbone.open(export_backbone(wrapped, tmp_path / str(i), preprocess=PREPROCESS)).card
        assert card["source"] == "torch module Sequential"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output_names": "logits"}, "output_names must be a list"),
        ({"output_names": ["pixel_values"]}, "none of an input"),
        ({"output_names": [""]}, "each given once"),
        ({"samples": "a.png"}, "samples must be a list"),
        ({"samples": ["/nowhere/a.png"]}, "a.png cannot be read"),
    ],
)
def test_names_and_samples_that_cannot_be(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=words):
        export_backbone(convolutions(), tmp_path / "out", preprocess=PREPROCESS, **options)
    assert list(tmp_path.iterdir()) == []
