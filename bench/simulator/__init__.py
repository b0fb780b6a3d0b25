"""Simulated port scenes, seen by an optical and a SAR sensor: one world, two views, known truth.

`world.py` decides what lies where (from `coast.py`, `city.py`, `harbour.py`, `ships.py`), `ground.py` turns a window of
it into classes, `optical.py` and `sar.py` look at it. Everything is a pure function of the specs in `spec.py` and of
the window: two windows that overlap agree in every shared pixel, whatever process rendered them. Writers of public
layouts stand in `like/`.
"""
