"""The detection task: where are the ships in a SAR scene? Importing this imports no torch."""

from bench.registry import Registry

DETECTORS = Registry("detector", "saropt_bench.detectors")
DETECTORS.add("faster-rcnn", "bench.detection.faster_rcnn:FasterRcnn", "Faster R-CNN with FPN on a ResNet (Ren et al. 2015), through mmdet")
DETECTORS.add("yolov3", "bench.detection.yolov3:YoloV3", "YOLOv3 with its anchor-based head on Darknet-53 (Redmon & Farhadi 2018), mmdet")
DETECTORS.add("cfar", "bench.detection.cfar:Cfar", "cell-averaging constant-false-alarm-rate detector; no training: the floor")
DETECTORS.add("submission", "bench.detection.submission:Submission", "boxes of another tool: COCO results, CSV or Parquet (`bench submit`)")
