"""Learn a rule from marked pictures, apply it to a folder, and hand its masks to Label Studio for correction.

python examples/rule_into_label_studio.py --out runs/label_studio
Then, in a Label Studio project: label_config.xml is its labelling interface, tasks.json what to import.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from conceptseg import ConceptSegmenter
from conceptseg.data.world import ConceptWorld
from conceptseg.images import load_image
from conceptseg.interfaces.cli import main as conceptseg
from conceptseg.interfaces.exports import export_results, read_results


def main() -> None:
    """Learn, apply, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--count", type=int, default=6, help="pictures to annotate")
    parser.add_argument("--budget", type=int, help="pictures that learning may ask about, at most")
    parser.add_argument("--out", type=Path, default=Path("runs/label_studio"))
    options = parser.parse_args()
    photos, rule_file, results = options.out / "photos", options.out / "defect.rule", options.out / "results"

    world = ConceptWorld("industrial_anomaly", "seen_test")
    photos.mkdir(parents=True, exist_ok=True)
    for index in range(options.count):
        load_image(world.sample("industrial_anomaly", index).image).save(photos / f"{index:03d}.png")

    segmenter = ConceptSegmenter.from_pretrained(options.model)
    references = world.sample(
        "industrial_anomaly", options.count
    ).references  # your own: Reference("a.jpg", mask="a.png")
    rule = segmenter.learn("surface defect", references, samples=2, budget=options.budget)
    rule.save(rule_file)
    print(f"{rule_file}: {rule.text or 'no words'}, expected IoU {rule.expected_iou}")

    status = conceptseg(
        ["segment", str(photos), "--rule", str(rule_file), "--model", options.model, "--out", str(results)]
    )
    report = export_results(read_results([results]), "label-studio", options.out / "tasks")
    print(f"{report.exported} tasks → {report.folder}")
    raise SystemExit(status)


if __name__ == "__main__":
    main()
