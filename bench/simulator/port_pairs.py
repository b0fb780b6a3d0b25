"""Simulated port pairs: facts, and where they make themselves. What they show is written in docs/simulator.md."""

from __future__ import annotations

from bench.data.facts import DatasetFacts
from bench.data.generated import GeneratedPairs
from bench.data.scaling import SarScale
from bench.simulator import sets, spec


class PortPairs(GeneratedPairs):
    """Simulated pairs of several cities, each a scene with tones of its own. Made once in the cache folder, repeatable
    from the options.
    """

    Options = sets.PortPairsSpec
    write = staticmethod(sets.write_port_pairs)
    stem = "port-pairs"
    version = spec.VERSION
    facts = DatasetFacts(
        name="port-pairs",
        title="simulated ports, seen by an optical and a SAR sensor",
        sar_sensor="none (simulated, side-looking, speckle of the stated looks)",
        optical_sensor="none (simulated, looking straight down)",
        polarisation="none",
        sar_scale=SarScale.uint8,
        licence="Apache-2.0",
        citation="simulated by saropt-bench",
        homepage="simulated on demand",
        folder="port_pairs",
        place_what="""\
    nothing: it is made on demand. A copy made before has
      opt_<px>_oc_<share>/<n>.png, sar_<px>_oc_<share>/<n>.png, patches.csv""",
    )
