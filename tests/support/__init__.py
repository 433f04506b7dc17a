"""What the tests share: a clock that the test sets, small tables of items, a home, services that crash."""
