"""The detection task: where are the ships in a SAR scene? Importing this imports no torch."""

from bench.registry import Registry

DETECTORS = Registry("detector", "saropt_bench.detectors")
DETECTORS.add("faster-rcnn", "bench.detection.faster_rcnn:FasterRcnn", "Faster R-CNN with FPN on a ResNet (Ren et al. 2015), through mmdet")
DETECTORS.add("yolov3", "bench.detection.yolov3:YoloV3", "YOLOv3 with its anchor-based head on Darknet-53 (Redmon & Farhadi 2018), mmdet")
DETECTORS.add(
    "yolov3u",
    "bench.detection.ultralytics_detectors:YoloV3u",
    "Darknet-53 with ultralytics' anchor-free head: another method than yolov3 (extra, AGPL-3.0)",
)
DETECTORS.add("yolo11", "bench.detection.ultralytics_detectors:Yolo11", "YOLO11 of ultralytics (extra, AGPL-3.0)")
DETECTORS.add("cfar", "bench.detection.cfar:Cfar", "cell-averaging constant-false-alarm-rate detector; no training: the floor")
DETECTORS.add("submission", "bench.detection.submission:Submission", "boxes of another tool: COCO results, CSV or Parquet (`bench submit`)")
