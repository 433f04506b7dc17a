"""The watched landing folders of teams, and the files of items that are claimed there."""
