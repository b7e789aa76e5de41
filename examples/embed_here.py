"""Embeddings computed here, to be modelled elsewhere: vectors and a manifest, no pixels and no text.

    python embed_here.py [FOLDER or CSV]

Images as for image_folder.py, or texts as for text_csv.py. Without any, scikit-learn's digits are written to
``digits/``. Makes ``vectors.npy``, ``vectors.manifest.csv`` and ``vectors.spaces.json``; then see model_elsewhere.py.
"""

import sys

import featx
from featx.demo_data import write_digits

data = featx.read_dataset(sys.argv[1] if len(sys.argv) > 1 else write_digits("digits"))
embedding = featx.embed(data, skip_unreadable=True)  # what cannot be read becomes a row of NaN

for path in featx.write_embedding(embedding, "vectors.npy", overwrite=True):
    print(path)
print(
    f"{embedding.vectors.shape[0]} x {embedding.vectors.shape[1]} vectors, {len(embedding.skipped)} skipped"
)

# What the columns mean: the same backbone, tap, pooling and preprocessing give the same identity anywhere.
for space in embedding.spaces:
    print(space.id, space.tap)
