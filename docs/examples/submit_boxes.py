"""Boxes of the scenes that a detection board asks for, without saropt-bench: python submit_boxes.py ROOT truth.json
boxes.json [SEED]
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

root, asked, answer = map(Path, sys.argv[1:4])
noise = np.random.default_rng(int(sys.argv[4])) if len(sys.argv) > 4 else None  # stands for a training with this seed


def detect(file):
    """Return [x1, y1, x2, y2, score] of what is far brighter than the scene. Put your detector here."""
    scene = ndimage.uniform_filter(np.asarray(Image.open(root / file).convert("F")), 5)
    factor = 4 if noise is None else noise.uniform(3.5, 4.5)
    labels, _ = ndimage.label(scene > scene.mean() + factor * scene.std())
    return [[x.start, y.start, x.stop, y.stop, float(scene[y, x].max())] for y, x in ndimage.find_objects(labels)]


task = json.loads(asked.read_text())
found = []
for image in task["images"]:
    for x1, y1, x2, y2, score in detect(image["file_name"]):
        found.append({"image_id": image["id"], "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score})
answer.write_text(json.dumps({"info": task["info"], "images": task["images"], "annotations": found}))
