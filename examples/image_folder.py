"""A folder of images: compare heads, save the best, use it.

    python image_folder.py [FOLDER]

FOLDER holds one subfolder a class, or a ``labels.csv`` with ``file,label[,group][,split]``. Without one,
scikit-learn's handwritten digits are written to ``digits/`` first. The model goes to ``image-model/``.
"""

import sys

import featx
from featx.demo_data import write_digits

folder = sys.argv[1] if len(sys.argv) > 1 else write_digits("digits")
data = featx.read_dataset(folder)
print(data)

# Each image meets the network once, ever: run this again, and only the heads are fitted.
training = featx.train(data, backbone="compact", out="image-model", overwrite=True)
print(f"{training.n_computed} images embedded now")
print(training.comparison.format_table())
for part, scores in training.held_out.items():  # where the data has a split
    print(f"held out, {part}: balanced accuracy {scores['balanced_accuracy']:.3f}")

# The saved folder is all that is needed to use the model, here or elsewhere.
for row in featx.predict("image-model", data.samples[:3]).rows():
    print(row["file"], row["label"])
