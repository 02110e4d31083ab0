"""Trainings that differ in their seed alone, as one comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, variance

from scipy import stats

from conceptseg.errors import InputError
from conceptseg.evaluation.comparison import DECISIVE, Comparison

__all__ = ["pool_seeds"]


def pool_seeds(comparisons: Sequence[Comparison]) -> Comparison:
    """One comparison of trainings that differ in their seed alone, each made over the same questions.

    The variance of its difference is the sum of two: that of the questions (the mean standard error, squared, for more
    seeds are not more questions) and that of the seeds (their variance over their number; a single seed shows none).
    Few seeds tell their variance badly, so that more standard errors decide: Student's t at the chance that two of
    them have otherwise, with the degrees of freedom of Welch and Satterthwaite, in which the questions count as many.

    Raises:
        InputError: there is none, or they are not over as many questions.
    """
    if not comparisons or len({one.questions for one in comparisons}) > 1:
        asked = ", ".join(str(one.questions) for one in comparisons) or "none"
        raise InputError(f"Seeds can be pooled where all answered the same questions; numbers of questions: {asked}.")
    differences = [one.difference for one in comparisons]
    seeds = variance(differences) / len(differences) if len(differences) > 1 else 0.0
    whole = mean(one.standard_error for one in comparisons) ** 2 + seeds
    freedom = (len(differences) - 1) * (whole / seeds) ** 2 if seeds else math.inf
    return Comparison(
        first=mean(one.first for one in comparisons),
        second=mean(one.second for one in comparisons),
        difference=mean(differences),
        standard_error=math.sqrt(whole),
        questions=comparisons[0].questions,
        differing=max(one.differing for one in comparisons),
        decisive=float(stats.t.isf(stats.norm.sf(DECISIVE), freedom)),
    )
