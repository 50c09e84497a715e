"""Scores: metrics, anchors and intervals of a submission against the truth."""

from nsd_bench.scoring.align import check
from nsd_bench.scoring.metrics import METRICS
from nsd_bench.scoring.score import Options, score, scores_json

__all__ = ["METRICS", "Options", "check", "score", "scores_json"]
