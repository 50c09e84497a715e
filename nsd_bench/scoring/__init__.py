"""Scores: metrics, anchors and intervals of a submission against the truth."""

from nsd_bench.scoring.align import check
from nsd_bench.scoring.metrics import METRICS
from nsd_bench.scoring.options import ScoreOptions
from nsd_bench.scoring.score import score, score_subject
from nsd_bench.scoring.scores import Scores

__all__ = ["METRICS", "ScoreOptions", "Scores", "check", "score", "score_subject"]
