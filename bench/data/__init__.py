"""Image reading, SAR scaling, dataset facts and readers, manifests, splits, the decoded cache. Importing this imports no torch."""

from bench.registry import Registry

DATASETS = Registry("dataset", "saropt_bench.datasets")
DATASETS.add("qxs-saropt", "bench.data.datasets.qxs_saropt:QxsSaropt", "QXS-SAROPT: 20,000 SAR-optical pairs, 256 px")
DATASETS.add("s1s2-scenes", "bench.data.datasets.s1s2_scenes:S1S2Scenes", "48 Sentinel-1/Sentinel-2 scene pairs, 10 m, cut on the fly")
DATASETS.add("two-folders", "bench.data.datasets.two_folders:TwoFolders", "any two parallel folders of registered patches")
DATASETS.add("toy-pairs", "bench.data.datasets.toy_pairs:ToyPairs", "generated textured shapes, made on demand")
