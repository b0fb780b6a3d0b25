"""Simulated SAR scenes of ports with ships: facts, and where they make themselves. What they show is written in
docs/simulator.md.
"""

from __future__ import annotations

from bench.data.facts import ShipFacts
from bench.data.generated import GeneratedShips
from bench.data.scaling import SarScale
from bench.simulator import sets, spec


class PortShips(GeneratedShips):
    """Simulated scenes, each a leakage group of its own. Made once in the cache folder, repeatable from the options."""

    Options = sets.PortShipsSpec
    write = staticmethod(sets.write_port_ships)
    stem = "port-ships"
    version = spec.VERSION
    facts = ShipFacts(
        name="port-ships",
        title="simulated ports and open sea with ships",
        sensors="none (simulated, side-looking, speckle of the stated looks)",
        image_px="square, option scene_px",
        resolution="option gsd_m",
        polarisation="none",
        sar_scale=SarScale.uint8,
        licence="Apache-2.0",
        citation="simulated by saropt-bench",
        homepage="simulated on demand",
        folder="port_ships",
        place_what="""\
    nothing: it is made on demand. A copy made before has
      images/<n>.png, annotations.json""",
    )
