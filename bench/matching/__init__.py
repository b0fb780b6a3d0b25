"""The matching task: do a SAR patch and an optical patch show the same place? Importing this imports no torch."""

from bench.registry import Registry

MATCHERS = Registry("matcher", "saropt_bench.matchers")
MATCHERS.add("bnn", "bench.matching.bnn:Bnn", "bridge neural network (Xu et al. 2019; QXS-SAROPT Table II)")
MATCHERS.add("infonce", "bench.matching.infonce:InfoNce", "two encoders, symmetric contrastive loss (the modern baseline)")
MATCHERS.add("cfog", "bench.matching.cfog:Cfog", "channel features of oriented gradients + FFT correlation (Ye et al. 2019); no training")
MATCHERS.add(
    "phase-congruency",
    "bench.matching.phase_congruency:PhaseCongruency",
    "oriented phase congruency (Kovesi 1999; Ye et al. 2017) + FFT correlation; no training",
)
MATCHERS.add("dense", "bench.matching.dense:Dense", "learned dense features + FFT correlation (after Zhang et al. 2022)")
MATCHERS.add("histogram", "bench.matching.histogram:Histogram", "grey-level and colour statistics only: what radiometry alone gives away")
MATCHERS.add("random", "bench.matching.random_scores:RandomScores", "scores drawn at random: the floor")
MATCHERS.add("submission", "bench.matching.submission:Submission", "distances of another tool for the drawn pairs (`bench submit`)")
