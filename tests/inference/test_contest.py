"""Who wins among rules, and what to expect of the winner: by hand."""

from __future__ import annotations

import numpy as np
import pytest

from conceptseg.inference.contest import Contest, doubtful, support_sets


def contest(*scores: dict[int, float]) -> Contest:
    made = Contest()
    for one in scores:
        made.enter(one)
    made.fix_baseline()
    return made


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 8, 16, 23, 50])
def test_every_reference_is_withheld_from_some_rule_and_shown_to_another(count):
    places = [10 + n for n in range(count)]
    sets = support_sets(places, 4, np.random.default_rng(0))
    assert all(len(set(one)) == len(one) == max(1, min(4, count - 1)) for one in sets)
    if count > 1:
        assert all(any(place not in one for one in sets) for place in places)
    assert len({place for one in sets for place in one}) == min(count, 40)
    assert sets == support_sets(places, 4, np.random.default_rng(0))


def test_a_rule_that_was_judged_on_hard_references_may_win():
    easy_one = {0: 0.80, 1: 0.80}
    hard_one = {2: 0.30, 3: 0.30}
    other = {0: 0.90, 1: 0.90, 2: 0.10, 3: 0.10}
    made = contest(easy_one, hard_one, other)
    assert made.advantage(0) == pytest.approx(-0.05) and made.advantage(1) == pytest.approx(0.10)
    assert made.advantage(2) == pytest.approx(-0.025)
    assert made.winner() == 1


def test_a_reference_is_told_by_the_rule_that_the_others_choose():
    made = contest({0: 0.9, 1: 0.9, 2: 0.1}, {0: 0.5, 1: 0.5, 2: 0.8})
    # Without reference 2 the first rule wins, so that 2 counts 0.1, though the second does better on it.
    assert made.unseen_scores() == {0: 0.5, 1: 0.5, 2: 0.1}


def test_expectations_of_rules_that_differ_by_chance_alone_do_not_flatter():
    rng = np.random.default_rng(0)
    gaps, flattered = [], []
    for _ in range(400):
        noise = [{r: float(rng.uniform(0.4, 0.8)) for r in range(4)} for _ in range(8)]
        made = contest(*noise)
        gaps.append(np.mean(list(made.unseen_scores().values())) - 0.6)
        flattered.append(np.mean(list(made.scores[made.winner()].values())) - 0.6)
    assert abs(np.mean(gaps)) < 0.01 < 0.05 < np.mean(flattered)


def test_who_cannot_win_even_by_perfection_is_told():
    made = contest({0: 0.9, 1: 0.9, 2: 0.9}, {0: 0.7, 1: 0.7, 2: 0.7})
    late = made.enter({0: 0.7})
    assert made.cannot_win(late, [1], leader=0)  # 0.7 and 1.0, where the leader has 0.9 and 0.9
    assert not made.cannot_win(late, [1, 2, 3], leader=0)
    assert made.advantage(made.enter()) == -np.inf


def test_references_that_every_rule_disagrees_with_are_suspects():
    scores = [{r: 0.1 if r == 3 else 0.7 for r in range(6) if r != c} for c in range(3)]
    assert contest(*scores).suspects() == [3]
    assert contest(*(dict.fromkeys(range(6), 0.1) for _ in range(3))).suspects() == []  # nothing is known of any
    assert contest({0: 0.9, 1: 0.0}, {0: 0.9, 1: 0.0}).suspects() == []  # too few to tell
    assert contest({0: 0.9, 1: 0.9, 2: 0.9, 3: 0.0}, {0: 0.9, 1: 0.9, 2: 0.9}).suspects() == []  # one rule's word


def test_references_that_the_others_do_not_find_are_doubtful():
    agreement = np.full((8, 8), 0.8)
    agreement[3], agreement[:, 3] = 0.1, 0.2
    assert doubtful(agreement) == [3]
    agreement[:, 3] = 0.9  # whoever leads to all others has the right mark, and is itself merely hard to find
    assert doubtful(agreement) == []
    assert doubtful(agreement[:4, :4]) == []
    faint = np.full((8, 8), 0.1)
    faint[3], faint[:, 3] = 0.0, 0.0
    assert doubtful(faint) == []  # nothing resembles anything: that says nothing


def test_scores_set_aside_help_to_choose_and_are_not_told():
    contest = Contest(aside=[9])
    for own, other in ((0.5, 0.2), (0.5, 0.9)):
        contest.enter({0: own, 9: other})
    contest.fix_baseline()
    assert contest.winner() == 1
    assert contest.unseen_scores() == {0: 0.5} and contest.unseen_scores(aside=True) == {0: 0.5, 9: 0.2}
