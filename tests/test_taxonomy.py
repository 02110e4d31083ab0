from __future__ import annotations

import pytest

from conceptseg.errors import InputError
from conceptseg.taxonomy import GROUPS, LEAF_TASKS, TASKS, Level, group_of, level_of


def test_the_twenty_leaves_of_table_5():
    counts = {level: sum(level_of(task) is level for task in LEAF_TASKS) for level in Level}
    assert counts == {Level.CI: 4, Level.CD: 8, Level.CR: 8}
    assert len(set(LEAF_TASKS)) == len(LEAF_TASKS) == 20


def test_the_tasks_beyond_the_leaves():
    extra = {task: level_of(task).value for task in TASKS if task not in LEAF_TASKS}
    assert extra == {"urban_scene": "CI", "reasoning": "CR", "other_ci": "CI", "other_cd": "CD", "other_cr": "CR"}


def test_groups_partition_the_leaves_and_stay_within_a_level():
    assert [task for tasks in GROUPS.values() for task in tasks] == list(LEAF_TASKS)
    assert all(len({level_of(task) for task in tasks}) == 1 for tasks in GROUPS.values())


def test_group_of_a_leaf_and_of_another_task():
    assert group_of("skin_lesion") == "Medical Lesion"
    assert group_of("reasoning") == "reasoning"


@pytest.mark.parametrize("ask", [level_of, group_of])
def test_an_unknown_task_is_refused_with_the_known_ones(ask):
    with pytest.raises(InputError, match=r"Unknown task 'Living'. Known tasks: living, artifact, .*other_cr"):
        ask("Living")
