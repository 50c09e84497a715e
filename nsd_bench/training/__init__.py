"""Train torch modules on packages: early stopping, schedules, checkpoints, several processes."""

from nsd_bench.training.history import Epoch, History
from nsd_bench.training.loop import Trainer, train
from nsd_bench.training.options import TrainingOptions

__all__ = ["Epoch", "History", "Trainer", "TrainingOptions", "train"]
