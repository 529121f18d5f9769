"""Measurements, as ratios within one run on one machine. Nothing here is asserted as a time."""
