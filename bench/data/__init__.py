"""Image reading, SAR scaling, dataset facts and readers, manifests, splits, the decoded cache. Importing this imports no torch."""

from bench.registry import Registry

DATASETS = Registry("dataset", "saropt_bench.datasets")
DATASETS.add("qxs-saropt", "bench.data.datasets.qxs_saropt:QxsSaropt", "QXS-SAROPT: 20,000 SAR-optical pairs, 256 px")
DATASETS.add("s1s2-scenes", "bench.data.datasets.s1s2_scenes:S1S2Scenes", "48 Sentinel-1/Sentinel-2 scene pairs, 10 m, cut on the fly")
DATASETS.add("sen1-2", "bench.data.datasets.sen12:Sen12", "SEN1-2: 282,384 Sentinel-1/Sentinel-2 pairs of four seasons, 256 px")
DATASETS.add("osdataset", "bench.data.datasets.osdataset:OsDataset", "OSdataset: 2,673 Gaofen-3/Google Earth pairs of 512 px")
DATASETS.add("two-folders", "bench.data.datasets.two_folders:TwoFolders", "any two parallel folders of registered patches")
DATASETS.add("port-pairs", "bench.data.datasets.port_pairs:PortPairs", "simulated ports, optical and SAR patches, made on demand")
DATASETS.add("toy-pairs", "bench.data.datasets.toy_pairs:ToyPairs", "generated textured shapes, made on demand")
DATASETS.add("air-sarship-1.0", "bench.data.datasets.air_sarship:AirSarShip", "AIR-SARShip-1.0: 31 Gaofen-3 scenes, 461 ships, VOC")
DATASETS.add("hrsid", "bench.data.datasets.hrsid:Hrsid", "HRSID: 5,604 SAR tiles of 800 px, 16,951 ships, COCO")
DATASETS.add("ssdd", "bench.data.datasets.ssdd:Ssdd", "SSDD: 1,160 SAR images of three sensors, 2,587 ships, VOC and COCO")
DATASETS.add("air-sarship-2.0", "bench.data.datasets.air_sarship_2:AirSarShip2", "AIR-SARShip-2.0: 300 Gaofen-3 images of 1000 px")
DATASETS.add("sardet-100k", "bench.data.datasets.sardet:Sardet100k", "SARDet-100K: 116,598 SAR images of ten sets; its ships, COCO")
DATASETS.add("voc-folder", "bench.data.datasets.voc_folder:VocFolder", "any SAR images with Pascal VOC XML boxes")
DATASETS.add("coco-folder", "bench.data.datasets.coco_folder:CocoFolder", "any SAR images with COCO JSON boxes")
DATASETS.add("port-ships", "bench.data.datasets.port_ships:PortShips", "simulated ports and sea with ships, made on demand")
DATASETS.add("toy-ships", "bench.data.datasets.toy_ships:ToyShips", "generated ships on speckled sea, made on demand")
