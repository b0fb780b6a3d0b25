"""saropt-bench: a benchmark harness for SAR-optical matching and SAR ship detection.

Importing this package imports neither torch nor any other heavy library; every heavy import happens where it is used.
"""

__version__ = "0.1.0"
