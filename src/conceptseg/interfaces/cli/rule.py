"""`conceptseg rule`: learn a rule from references, look at it, check it, apply it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conceptseg.interfaces.cli.console import add_label_arguments, add_model_arguments, load_segmenter, words
from conceptseg.interfaces.cli.entry import ExitStatus, main

__all__ = ["add_parser", "run"]

_REF = "IMG@MASK | IMG@x1,y1,x2,y2"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("rule", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    learn = actions.add_parser("learn", help="a rule from references, verified on those that it was not shown")
    learn.add_argument("--concept", type=words, required=True, metavar="TEXT", help="what it is about, in words")
    learn.add_argument("--ref", action="append", required=True, metavar=_REF, help="a marked picture; repeat it")
    learn.add_argument(
        "--unlike", action="append", default=[], metavar=_REF, help="a mark on what looks like it and is not; repeat it"
    )
    learn.add_argument(
        "--absent", nargs="+", default=[], metavar="IMAGE|FOLDER", help="pictures in which the concept is not"
    )
    add_label_arguments(learn, "the references' masks")
    learn.add_argument("--samples", type=int, default=4, metavar="N", help="competing responses (default: 4)")
    learn.add_argument("--budget", type=int, metavar="N", help="pictures that the model may answer, at most")
    learn.add_argument("--out", type=Path, required=True, metavar="FILE", help="e.g. defect.rule")
    add_model_arguments(learn)
    show = actions.add_parser("show", help="what a rule is, on which references it was verified, its suspects")
    show.add_argument("rule", type=Path, metavar="RULE")
    show.add_argument("--page", type=Path, metavar="FILE", help="default: RULE.html")
    apply = actions.add_parser("apply", help="as `conceptseg segment --rule RULE`, whose arguments it takes")
    apply.add_argument("rule", type=Path, metavar="RULE")
    apply.add_argument("rest", nargs=argparse.REMAINDER, metavar="IMAGE|FOLDER|GLOB... [--out DIR] ...")
    check = actions.add_parser("check", help="the IoU of a rule's masks on marked pictures")
    check.add_argument("rule", type=Path, metavar="RULE")
    check.add_argument(
        "--ref", action="append", default=[], metavar=_REF, help="default: the references that it withheld"
    )
    add_label_arguments(check, "the references' masks")
    add_model_arguments(check)


def run(args: argparse.Namespace) -> int:
    """Do what was asked of a rule.

    Raises:
        InputError: a reference that cannot be used, or a file that is no rule.
        CheckpointError: the model cannot be loaded.
    """
    if args.action == "learn":
        return _learn(args)
    if args.action == "apply":
        return main(["segment", *args.rest, "--rule", str(args.rule)])
    return _show(args) if args.action == "show" else _check(args)


def _learn(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from conceptseg.interfaces.cli.inputs import find_images, parse_references
    from conceptseg.interfaces.rule_page import rule_lines

    references = parse_references(args.ref, args.unlike, args.label, args.ignore)
    absent = find_images(args.absent, exclude=args.out) if args.absent else None
    _require_parent(args.out)
    with tqdm(unit="picture", disable=None) as bar:

        def show(done: int, planned: int) -> None:
            bar.total = planned
            bar.update(done - bar.n)

        rule = load_segmenter(args).learn(
            args.concept,
            references,
            absent=absent.paths if absent else (),
            samples=args.samples,
            budget=args.budget,
            seed=args.seed,
            progress=show,
        )
    rule.save(args.out)
    for line in absent.left_out.lines() if absent else ():
        print(line, file=sys.stderr)
    print("\n".join(rule_lines(rule)))
    print(f"→ {args.out}; `conceptseg rule show {args.out}` draws it")
    return ExitStatus.DONE


def _show(args: argparse.Namespace) -> int:
    from conceptseg.inference import Rule
    from conceptseg.interfaces.rule_page import rule_lines, write_rule_page

    rule = Rule.load(args.rule)
    print("\n".join(rule_lines(rule)))
    for place, (picture, score) in enumerate(zip(rule.pictures, rule.scores, strict=True)):
        told = "not judged" if score is None else f"IoU {score:.2f}"
        role = "support" if place in rule.supports else "unlike" if picture.unlike else "withheld"
        told = told.replace("IoU", "clear") if picture.unlike else told
        print(f"  {place + 1}  {role:8}  {told}  {picture.name}{'  SUSPECT' if place in rule.suspects else ''}")
    print(f"→ {write_rule_page(rule, args.page or args.rule.with_name(args.rule.name + '.html'))}")
    return ExitStatus.DONE


def _check(args: argparse.Namespace) -> int:
    from conceptseg.data import load_reference
    from conceptseg.errors import InputError
    from conceptseg.inference import Rule
    from conceptseg.inference.learning import score_of
    from conceptseg.inference.notes import fold_notes
    from conceptseg.inference.rules import keep_picture
    from conceptseg.interfaces.cli.inputs import parse_references

    rule, notes = Rule.load(args.rule), list[str]()
    if args.ref:
        given = parse_references(args.ref, (), args.label, args.ignore)
        loaded = [load_reference(one) for one in given]
        notes += [f"Reference {place}: {note}" for place, one in enumerate(loaded, 1) for note in one.notes]
        known = [keep_picture(one, sys.maxsize, str(of.image)) for one, of in zip(loaded, given, strict=True)]
    else:
        known = [rule.pictures[place] for place in rule.withheld]
    known = [one for one in known if one.region is not None]
    if not known:
        raise InputError("Nothing to check the rule on: it withheld no reference. Give marked pictures with --ref.")
    scores = []
    for one, result in zip(known, load_segmenter(args).apply(rule, [one.image for one in known]), strict=True):
        notes += result.notes
        scores.append(score_of(result, one))
        print(f"IoU {scores[-1]:.3f}  confidence {result.confidence or 0:.2f}  found {result.found}  {one.name}")
    for note in fold_notes(notes):
        print(f"note: {note}", file=sys.stderr)
    print(f"mean {sum(scores) / len(scores):.3f} on {len(scores)} pictures. {rule.describe()}")
    return ExitStatus.DONE


def _require_parent(path: Path) -> None:
    """A rule is costly: that it cannot be written is told before it is learned."""
    from conceptseg.errors import InputError

    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"--out {path}: name a file in a folder that exists, e.g. defect.rule.")
