from nsd_bench.loaders.opened import OpenPackage as Package
from nsd_bench.loaders.opened import open as open
from nsd_bench.models.zoo import train as train
from nsd_bench.package.assemble import write_package as write_package
from nsd_bench.package.submission import Submission as Submission
from nsd_bench.reports import report as report
from nsd_bench.scoring.compare import Comparison as Comparison
from nsd_bench.scoring.compare import compare as compare
from nsd_bench.scoring.score import score as score
from nsd_bench.scoring.scores import Scores as Scores

__all__ = [
    "Comparison",
    "Package",
    "Scores",
    "Submission",
    "__version__",
    "compare",
    "open",
    "report",
    "score",
    "train",
    "write_package",
]

__version__: str
