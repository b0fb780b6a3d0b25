"""Sets of SAR scenes with ship boxes: their index, layouts (VOC, COCO), decoded cache and verification."""
