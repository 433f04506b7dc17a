"""The `dagster.yaml` and `workspace.yaml` of a home, made from the files in `home/`.

Those are written for the home `data`, so that a checkout can link to them and needs no copy.
"""

import json
from pathlib import Path

_FILES = Path(__file__).with_name("home")


def dagster_yaml(home: Path) -> str:
    """Return the settings of the instance of a home, whose storage is the folder `dagster` in the home.

    A relative home is relative to the folder in which Dagster is started.
    """
    # Every JSON string is a YAML string, so the path needs no other quoting.
    base_dir = json.dumps((home / "dagster").as_posix(), ensure_ascii=False)
    return (_FILES / "dagster.yaml").read_text().replace("data/dagster", base_dir)


def workspace_yaml() -> str:
    """Return the workspace: one code location, the same for every home."""
    return (_FILES / "workspace.yaml").read_text()
