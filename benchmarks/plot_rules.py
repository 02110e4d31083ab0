"""Draws what benchmarks/rules.py measured: plot_rules.py --confidence FILE --calibration FILE --out PNG

Left, the reliability of `result.confidence`: what was said against what was true, tenth by tenth, larger dots for more
answers. Right, `rule.expected_iou` against the mean IoU on pictures that the rule had not seen, a dot a rule with its
interval.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--confidence", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 4), constrained_layout=True)
    _draw_confidence(left, json.loads(options.confidence.read_text(encoding="utf-8")))
    _draw_expected(right, json.loads(options.calibration.read_text(encoding="utf-8")))
    for axes in (left, right):
        axes.plot([0, 1], [0, 1], color="0.7", zorder=0)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    figure.savefig(options.out, dpi=110)


def _draw_confidence(axes: Any, told: dict[str, Any]) -> None:
    said, true, count = np.array(told["summary"]["bins"]).T
    axes.scatter(said, true, s=12 + 400 * count / count.sum(), color="#c22")
    axes.set(xlabel="result.confidence", ylabel="IoU, mean")
    summary = told["summary"]
    axes.set_title(f"{summary['questions']} questions, expected error {summary['confidence_error']:.3f}", fontsize=9)


def _draw_expected(axes: Any, told: dict[str, Any]) -> None:
    rows = [row for row in told["rows"] if row["expected"] is not None]
    said, true = [row["expected"] for row in rows], [float(np.mean(row["true"])) for row in rows]
    reach = np.array([[row["expected"] - row["interval"][0], row["interval"][1] - row["expected"]] for row in rows]).T
    axes.errorbar(said, true, xerr=np.maximum(reach, 0), fmt="o", ms=4, color="#26c", ecolor="0.8", zorder=1)
    axes.set(xlabel="rule.expected_iou, with its interval", ylabel="IoU on further pictures, mean")
    summary = told["summary"]
    axes.set_title(f"{len(rows)} rules, {summary['questions']} pictures", fontsize=9)


if __name__ == "__main__":
    main()
