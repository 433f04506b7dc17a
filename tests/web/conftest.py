"""A home with items of two users, and the page over it."""

from datetime import timedelta

import pytest
from support.changed import changed
from support.clock import NOW
from support.home import Home
from support.items import Ad
from support.page import Page, a_page

from implio_pipeline.domain.plan import ApprovalPolicy


@pytest.fixture
def page(home: Home) -> Page:
    home.services = changed(home.services, approvals=ApprovalPolicy())
    outcomes = ("approved", "refused", "no decision", None)
    for age in (1, 20, 80):
        at = NOW - timedelta(days=age)
        home.keep(
            *(Ad(task=f"a{age}-{number}", user="ann", at=at, outcome=outcomes[number]) for number in range(4)),
            *(Ad(task=f"b{age}-{number}", user="bob", at=at) for number in range(3)),
            Ad(task=f"n{age}", user=None, at=at),
        )
    return a_page(home)
