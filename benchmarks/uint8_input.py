"""What is saved by casting, scaling and normalising uint8 pixels inside the graph instead of in numpy?

    python benchmarks/uint8_input.py [--batches 1 16] [--save]

Needs the test material (``FEATX_SHARED``, default ``../shared``). Both sides start at decoded uint8 pictures of 224 x 224 and
end at the pooled vectors of mobilenet_v2, on one thread: numpy's preprocessing and the original graph cut at ``pooled``, against
featx's cut graph. Expected: 8 to 10 % more images per second.
"""

from __future__ import annotations

import statistics

import numpy as np
import onnx
import onnxruntime
from measuring import SHARED, alternating, median_ratio, parser, report, spread

from featx.backbones.graph import find_tap, inspect_graph, load_graph
from featx.backbones.preprocess import ImagePreprocess
from featx.backbones.surgery import cut_image_graph

PICTURES = 32


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def main() -> None:
    arguments = parser(__doc__, rounds=15)
    arguments.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    given = arguments.parse_args()

    folder = SHARED / "weights" / "mobilenet_v2"
    preprocess = ImagePreprocess.from_folder(folder)
    model = load_graph(folder / "model.onnx")
    info = inspect_graph(model)
    pooled = find_tap(info, model, "pooled")
    cut = open_session(cut_image_graph(model, info, [pooled], poolings=["auto"], preprocess=preprocess))
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=pooled.tensor))
    original = open_session(model)

    mean, std = np.float32(preprocess.mean), np.float32(preprocess.std)
    scale = np.float32(preprocess.scale)
    pixels = np.random.default_rng(0).integers(0, 256, (PICTURES, *info.input_size, 3), dtype=np.uint8)

    def in_graph(batch: int) -> None:
        for start in range(0, PICTURES, batch):
            cut.run(None, {"pixels": pixels[start : start + batch]})

    def in_numpy(batch: int) -> None:
        for start in range(0, PICTURES, batch):
            x = (pixels[start : start + batch].astype(np.float32) * scale - mean) / std
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
            original.run(None, {info.input_name: x})

    figures = {}
    for batch in given.batches:
        works = {"graph": lambda n=batch: in_graph(n), "numpy": lambda n=batch: in_numpy(n)}
        alternating(works, 1)  # warm up
        seconds = alternating(works, given.rounds)
        figures[f"batch_{batch}"] = {
            "images_per_s_uint8_in_graph": round(PICTURES / statistics.median(seconds["graph"]), 1),
            "images_per_s_numpy": round(PICTURES / statistics.median(seconds["numpy"]), 1),
            "ratio": round(median_ratio(seconds["numpy"], seconds["graph"]), 3),
            "spread": round(max(map(spread, seconds.values())), 3),
        }
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
