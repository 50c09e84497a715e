"""Transfer: how well what was learned from seeing holds for imagining, and in other regimes."""

from nsd_bench.transfer.decoder_scores import evaluate_decoder
from nsd_bench.transfer.encoder_scores import evaluate_encoder
from nsd_bench.transfer.page import write_evaluation
from nsd_bench.transfer.regimes import gather_regimes
from nsd_bench.transfer.results import Evaluation, TransferOptions

__all__ = [
    "Evaluation",
    "TransferOptions",
    "evaluate_decoder",
    "evaluate_encoder",
    "gather_regimes",
    "write_evaluation",
]
