"""Where problems come from, and what counts as right."""

from isotherm.tasks.family import Family
from isotherm.tasks.files import read_problems
from isotherm.tasks.mix import parse_mix
from isotherm.tasks.problems import forms, normal, problem, problem_set, split_of, verify
from isotherm.tasks.registry import FAMILIES

__all__ = [
    "FAMILIES",
    "Family",
    "forms",
    "normal",
    "parse_mix",
    "problem",
    "problem_set",
    "read_problems",
    "split_of",
    "verify",
]
