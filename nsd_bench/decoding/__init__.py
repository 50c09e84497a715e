"""Decode what was seen from a curated set: load it, cross-validate over runs, and say what chance gives."""

from nsd_bench.decoding.data import DecodingData, load_curated, standardise
from nsd_bench.decoding.decoder import Decoding, decode, leave_runs_out, write_decoding

__all__ = [
    "Decoding",
    "DecodingData",
    "decode",
    "leave_runs_out",
    "load_curated",
    "standardise",
    "write_decoding",
]
