"""Distances of the pairs that a matching board asks for, without saropt-bench: python submit_pairs.py ROOT pairs.csv
mine.csv
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

root, asked, answer = map(Path, sys.argv[1:])


def describe(file):
    """Where the edges are: their strength in 8 x 8 blocks, as a unit vector. Put your method here."""
    grey = np.asarray(Image.open(root / file).convert("F"))
    strength = np.hypot(*np.gradient(grey))
    height, width = (side // 8 * 8 for side in strength.shape)
    blocks = strength[:height, :width].reshape(8, height // 8, 8, width // 8).mean(axis=(1, 3)).ravel()
    return (blocks - blocks.mean()) / (np.linalg.norm(blocks - blocks.mean()) + 1e-9)


rows = list(csv.DictReader(asked.open(newline="")))
known = {file: describe(file) for file in {row[view] for row in rows for view in ("sar_file", "optical_file")}}
for row in rows:
    # smaller = more alike; "" where a method fails
    row["distance"] = 1 - float(known[row["sar_file"]] @ known[row["optical_file"]])
with answer.open("w", newline="") as stream:
    table = csv.DictWriter(stream, rows[0])
    table.writeheader()
    table.writerows(rows)
