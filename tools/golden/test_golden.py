"""The stored golden files are what the pinned diffusers produces today."""

import functools

import pytest
from scheduler_cases import Case, all_cases
from schedulers import SCHEDULERS, Arrays, check_manifest, problems, stored

CASES = all_cases()
load = functools.cache(stored)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.family}-{case.name}")
def test_trajectory_is_reproduced(case: Case) -> None:
    reference: Arrays = load(case.family).get(case.name, {})
    assert problems(case, reference) == []


def test_manifest_describes_the_cases() -> None:
    assert check_manifest(CASES) == []


def test_nothing_else_is_stored() -> None:
    expected = {(case.family, case.name) for case in CASES}
    assert {(family, name) for family in SCHEDULERS for name in load(family)} == expected
    assert len(expected) == len(CASES)
