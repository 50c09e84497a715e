"""Ridge with a penalty per unit: ours, himalaya and scikit-learn on the same data and penalties, in one run.

Each runs in a process of its own, whose peak memory is that of the data and of the fit. Ours and himalaya
choose by 5 folds; scikit-learn by leave-one-out (GCV), the only way in which its RidgeCV has a penalty per
unit. Run by hand, or with --device cuda where there is a GPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

N_FOLDS = 5
PENALTIES = np.logspace(0, 6, 10)


def problem(n_images: int, n_features: int, n_units: int) -> tuple[np.ndarray, np.ndarray]:
    """Features whose spectrum falls off as those of networks do, and units with very different signal."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_images, n_features), dtype=np.float32)
    x *= np.arange(1, n_features + 1, dtype=np.float32) ** -0.5
    mixing = np.linalg.qr(rng.standard_normal((n_features, n_features), dtype=np.float32))[0]
    x = x @ mixing
    x /= x.std(axis=0)
    y = rng.standard_normal((n_images, n_units), dtype=np.float32)
    strength = rng.uniform(0, 0.05, n_units).astype(np.float32)
    y += x @ (rng.standard_normal((n_features, n_units), dtype=np.float32) * strength)
    return x, y


def ours(x: np.ndarray, y: np.ndarray, device: str) -> tuple[np.ndarray, np.ndarray]:
    from nsd_bench.models.ridge import Solver, ridge_by_folds

    solver = Solver(device=device, criterion="r2")
    fit = ridge_by_folds(x, y, PENALTIES, np.arange(len(x)) % N_FOLDS, solver=solver)
    return fit.alpha, fit.weights


def himalaya(x: np.ndarray, y: np.ndarray, device: str) -> tuple[np.ndarray, np.ndarray]:
    from himalaya.backend import set_backend
    from himalaya.ridge import RidgeCV
    from himalaya.scoring import r2_score
    from sklearn.model_selection import PredefinedSplit

    backend = set_backend("torch" if device == "cpu" else "torch_cuda")
    ridge = RidgeCV(
        PENALTIES.astype(np.float32),
        fit_intercept=True,
        solver_params={"n_targets_batch": 2048, "score_func": r2_score},
        cv=PredefinedSplit(np.arange(len(x)) % N_FOLDS),
    ).fit(x, y)
    return backend.to_numpy(ridge.best_alphas_), backend.to_numpy(ridge.coef_)


def sklearn(x: np.ndarray, y: np.ndarray, device: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.linear_model import RidgeCV

    ridge = RidgeCV(PENALTIES.astype(np.float32), alpha_per_target=True).fit(x, y)
    return ridge.alpha_, ridge.coef_.T


CONTENDERS = {"ours": ours, "himalaya": himalaya, "sklearn": sklearn}


def measure(name: str, shape: tuple[int, int, int], device: str) -> None:
    """Fit once, in this process, and print what was found as JSON."""
    x, y = problem(*shape)
    rng = np.random.default_rng(1)
    CONTENDERS[name](x[:50, :9].copy(), y[:50, :3].copy(), device)  # imports, and what is compiled once
    data = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    alpha, weights = CONTENDERS[name](x, y, device)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    probe = rng.standard_normal((3, shape[1])).astype(np.float32) @ weights
    found = {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "data_gb": data * 1024 / 1e9,
        "peak_gb": peak * 1024 / 1e9,
        "alpha": np.log10(alpha.astype(float)).tolist(),
        "probe": probe.ravel().tolist(),
    }
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--features", type=int, default=2000)
    parser.add_argument("--units", type=int, default=15_724)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--contender", choices=CONTENDERS, action="append", help="Only these; all by default."
    )
    parser.add_argument("--measure", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    shape = (given.images, given.features, given.units)
    if given.measure:
        measure(given.measure, shape, given.device)
        return
    print(
        f"{shape[0]} images x {shape[1]} features x {shape[2]} units, {len(PENALTIES)} penalties", flush=True
    )
    first: dict[str, list[float]] = {}
    for name in given.contender or CONTENDERS:
        command = [sys.executable, __file__, *sys.argv[1:], "--measure", name]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        first = first or found
        same = np.isclose(found["alpha"], first["alpha"], atol=1e-3).mean()
        r = np.corrcoef(found["probe"], first["probe"])[0, 1]
        print(
            f"  {name:9} {found['seconds']:7.1f} s, {found['seconds'] / first['seconds']:5.2f} x "
            f"(CPU {found['cpu_seconds']:.1f} s, {found['cpu_seconds'] / first['cpu_seconds']:.2f} x); "
            f"peak {found['peak_gb']:.2f} GB (data made: {found['data_gb']:.2f}); "
            f"{same:.1%} of penalties and r {r:.5f} of predictions as the first's",
            flush=True,
        )


if __name__ == "__main__":
    main()
