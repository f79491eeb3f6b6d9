"""What options offer is what there is."""

from typing import get_args

import pytest

from dfghdr_cli import choices
from dfghdr_cli.core.colour import PRIMARIES, RADIANCE_SPACES
from dfghdr_cli.core.tonemapping.operators import DEFAULT_OPERATOR, OPERATORS
from dfghdr_cli.nets.registry import ARCHITECTURES


@pytest.mark.parametrize(
    ("choice", "table"),
    [
        (choices.OperatorName, OPERATORS),
        (choices.RadianceSpace, RADIANCE_SPACES),
        (choices.DisplaySpace, PRIMARIES),
        (choices.Architecture, ARCHITECTURES),
    ],
)
def test_every_choice_has_an_entry(choice, table):
    assert set(get_args(choice)) == set(table)


def test_the_default_operator_comes_first():
    assert get_args(choices.OperatorName)[0] == DEFAULT_OPERATOR == next(iter(OPERATORS))
