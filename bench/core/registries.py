"""The registries of the project, one for each kind of component. Entries are lazy: importing this imports no component
and no torch.
"""

from bench.core.registry import Registry

TASKS = Registry("task", "saropt_bench.tasks")
TASKS.add(
    "matching", "bench.matching.task:MatchingTask", "do a SAR and an optical patch show the same place? (Table II)"
)
TASKS.add("detection", "bench.detection.task:DetectionTask", "where are the ships in a SAR scene? (Table III)")

DATASETS = Registry("dataset", "saropt_bench.datasets")
DATASETS.add("qxs-saropt", "bench.data.datasets.qxs_saropt:QxsSaropt", "QXS-SAROPT: 20,000 SAR-optical pairs, 256 px")
DATASETS.add(
    "s1s2-scenes",
    "bench.data.datasets.s1s2_scenes:S1S2Scenes",
    "48 Sentinel-1/Sentinel-2 scene pairs, 10 m, cut on the fly",
)
DATASETS.add(
    "sen1-2", "bench.data.datasets.sen12:Sen12", "SEN1-2: 282,384 Sentinel-1/Sentinel-2 pairs of four seasons, 256 px"
)
DATASETS.add(
    "osdataset", "bench.data.datasets.osdataset:OsDataset", "OSdataset: 2,673 Gaofen-3/Google Earth pairs of 512 px"
)
DATASETS.add(
    "two-folders", "bench.data.datasets.two_folders:TwoFolders", "any two parallel folders of registered patches"
)
DATASETS.add(
    "scene-pairs",
    "bench.data.datasets.scene_pairs:OwnScenes",
    "any registered scene pairs with a CSV of them, cut on the fly",
)
DATASETS.add(
    "port-pairs", "bench.simulator.port_pairs:PortPairs", "simulated ports, optical and SAR patches, made on demand"
)
DATASETS.add("toy-pairs", "bench.data.datasets.toy_pairs:ToyPairs", "generated textured shapes, made on demand")
DATASETS.add(
    "air-sarship-1.0",
    "bench.data.datasets.air_sarship:AirSarShip",
    "AIR-SARShip-1.0: 31 Gaofen-3 scenes, 461 ships, VOC",
)
DATASETS.add("hrsid", "bench.data.datasets.hrsid:Hrsid", "HRSID: 5,604 SAR tiles of 800 px, 16,951 ships, COCO")
DATASETS.add(
    "ssdd", "bench.data.datasets.ssdd:Ssdd", "SSDD: 1,160 SAR images of three sensors, 2,587 ships, VOC and COCO"
)
DATASETS.add(
    "air-sarship-2.0",
    "bench.data.datasets.air_sarship_2:AirSarShip2",
    "AIR-SARShip-2.0: 300 Gaofen-3 images of 1000 px",
)
DATASETS.add(
    "sardet-100k",
    "bench.data.datasets.sardet:Sardet100k",
    "SARDet-100K: 116,598 SAR images of ten sets; its ships, COCO",
)
DATASETS.add("voc-folder", "bench.data.datasets.voc_folder:VocFolder", "any SAR images with Pascal VOC XML boxes")
DATASETS.add("coco-folder", "bench.data.datasets.coco_folder:CocoFolder", "any SAR images with COCO JSON boxes")
DATASETS.add("port-ships", "bench.simulator.port_ships:PortShips", "simulated ports and sea with ships, made on demand")
DATASETS.add("toy-ships", "bench.data.datasets.toy_ships:ToyShips", "generated ships on speckled sea, made on demand")

MATCHERS = Registry("matcher", "saropt_bench.matchers")
MATCHERS.add("bnn", "bench.matching.matchers.bnn:Bnn", "bridge neural network (Xu et al. 2019; QXS-SAROPT Table II)")
MATCHERS.add(
    "infonce",
    "bench.matching.matchers.infonce:InfoNce",
    "two encoders, symmetric contrastive loss (the modern baseline)",
)
MATCHERS.add(
    "cfog",
    "bench.matching.matchers.cfog:Cfog",
    "channel features of oriented gradients + FFT correlation (Ye et al. 2019); no training",
)
MATCHERS.add(
    "phase-congruency",
    "bench.matching.matchers.phase_congruency:PhaseCongruency",
    "oriented phase congruency (Kovesi 1999; Ye et al. 2017) + FFT correlation; no training",
)
MATCHERS.add(
    "dense", "bench.matching.matchers.dense:Dense", "learned dense features + FFT correlation (after Zhang et al. 2022)"
)
MATCHERS.add(
    "dense-cfog",
    "bench.matching.matchers.dense_cfog:DenseCfog",
    "cfog's channels + a trained residual, correlated as a whole; the strongest row",
)
MATCHERS.add(
    "dense-pyramid",
    "bench.matching.matchers.dense_cfog:DensePyramid",
    "as dense-cfog, with all stages of a backbone as the residual, so that its SAR branch may start a detector",
)
MATCHERS.add(
    "histogram",
    "bench.matching.matchers.histogram:Histogram",
    "grey-level and colour statistics only: what radiometry alone gives away",
)
MATCHERS.add("random", "bench.matching.matchers.random_scores:RandomScores", "scores drawn at random: the floor")
MATCHERS.add(
    "fusion", "bench.matching.fusion:Fusion", "a row made of others: the sum of their calibrated distances; no training"
)
MATCHERS.add(
    "submission",
    "bench.matching.submission.submission:Submission",
    "distances of another tool for the drawn pairs (`bench submit`)",
)

DETECTORS = Registry("detector", "saropt_bench.detectors")
DETECTORS.add(
    "faster-rcnn",
    "bench.detection.detectors.mmdet.faster_rcnn:FasterRcnn",
    "Faster R-CNN with FPN on a ResNet or EfficientNet-Lite0 (Ren et al. 2015), through mmdet",
)
DETECTORS.add(
    "yolov3",
    "bench.detection.detectors.mmdet.yolov3:YoloV3",
    "YOLOv3 with its anchor-based head on Darknet-53 or EfficientNet-Lite0 (Redmon & Farhadi 2018), mmdet",
)
DETECTORS.add(
    "yolov3u",
    "bench.detection.detectors.ultralytics.base:YoloV3u",
    "Darknet-53 with ultralytics' anchor-free head: another method than yolov3 (extra, AGPL-3.0)",
)
DETECTORS.add("yolo11", "bench.detection.detectors.ultralytics.base:Yolo11", "YOLO11 of ultralytics (extra, AGPL-3.0)")
DETECTORS.add(
    "cfar",
    "bench.detection.detectors.cfar.detector:Cfar",
    "cell-averaging constant-false-alarm-rate detector; no training: the floor",
)
DETECTORS.add(
    "fusion",
    "bench.detection.fusion:Fusion",
    "a row made of others: weighted boxes fusion, NMS or soft-NMS of their boxes; no training",
)
DETECTORS.add(
    "submission",
    "bench.detection.submission.submission:Submission",
    "boxes of another tool: COCO results, CSV or Parquet (`bench submit`)",
)

BACKBONES = Registry("backbone", "saropt_bench.backbones")
BACKBONES.add("resnet18", "bench.models.backbones:RESNET18", "ResNet-18 (He et al. 2016), torchvision layout")
BACKBONES.add("resnet34", "bench.models.backbones:RESNET34", "ResNet-34 (He et al. 2016), torchvision layout")
BACKBONES.add("resnet50", "bench.models.backbones:RESNET50", "ResNet-50 (He et al. 2016), torchvision layout")
BACKBONES.add("darknet53", "bench.models.backbones:DARKNET53", "Darknet-53 (Redmon & Farhadi 2018), LeakyReLU 0.1")
BACKBONES.add(
    "efficientnet-lite0",
    "bench.models.backbones:EFFICIENTNET_LITE0",
    "EfficientNet-Lite0 (Tan & Le 2019), small and fast on a CPU; ImageNet weights by the extra imagenet",
)
BACKBONES.add(
    "shallow", "bench.models.backbones:SHALLOW", "five convolutions at half resolution without padding, for `dense`"
)
