"""What does ``import featx`` add to ``import numpy``?

    python benchmarks/import_time.py [--save]

Fresh interpreters, taking turns; byte code is compiled beforehand. Names such as ``featx.ImageFeatures`` are resolved when
they are first used. What the first use of ``featx.ImageFeatures`` loads is timed too, beside ``sklearn.base``, which is most
of it (and loads pandas where that is installed).

Expected before tuning: at most 0.15 seconds over ``import numpy``.
"""

from __future__ import annotations

import subprocess
import sys

from measuring import alternating, parser, report

STATEMENTS = {
    "python": "pass",
    "numpy": "import numpy",
    "featx": "import numpy, featx",
    "sklearn.base": "import numpy, sklearn.base",
    "ImageFeatures": "import numpy; from featx import ImageFeatures",
}


def main() -> None:
    given = parser(__doc__, rounds=21).parse_args()
    works = {
        name: lambda statement=statement: subprocess.run([sys.executable, "-c", statement], check=True)
        for name, statement in STATEMENTS.items()
    }
    for work in works.values():
        work()
    taken = alternating(works, given.rounds)
    print(f"{'import':14} {'seconds':>8} {'over numpy':>10}")
    figures = {"others": taken.others}
    for name in STATEMENTS:
        over = taken.median(name) - taken.median("numpy")
        figures[f"{name}_s"], figures[f"{name}_over_numpy_s"] = taken.median(name), over
        print(f"{name:14} {taken.median(name):8.3f} {over:10.3f}")
    report(__file__, given, figures)


if __name__ == "__main__":
    main()
