"""Backbones, weight files and the key maps between frameworks. Importing this imports no torch."""

from bench.registry import Registry

BACKBONES = Registry("backbone", "saropt_bench.backbones")
BACKBONES.add("resnet18", "bench.models.backbones:RESNET18", "ResNet-18 (He et al. 2016), torchvision layout")
BACKBONES.add("resnet34", "bench.models.backbones:RESNET34", "ResNet-34 (He et al. 2016), torchvision layout")
BACKBONES.add("resnet50", "bench.models.backbones:RESNET50", "ResNet-50 (He et al. 2016), torchvision layout")
BACKBONES.add("darknet53", "bench.models.backbones:DARKNET53", "Darknet-53 (Redmon & Farhadi 2018), LeakyReLU 0.1")
BACKBONES.add("shallow", "bench.models.backbones:SHALLOW", "five convolutions at half resolution without padding, for `dense`")
