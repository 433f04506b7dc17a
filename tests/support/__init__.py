"""What the tests share: a clock that stands still, tiny tables of items, a home to work in, a world that crashes."""
