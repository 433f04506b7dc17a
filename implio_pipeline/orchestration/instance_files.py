"""`dagster.yaml` and `workspace.yaml` of a home: copies of the files in `home/`, which are the only ones.

They are those of the home `data` as they are, so that a checkout links to them.
"""

import json
from pathlib import Path

_FILES = Path(__file__).with_name("home")


def dagster_yaml(home: Path) -> str:
    """Return the instance's settings for a home; its storage lies in the home's `dagster` folder.

    A relative home is taken from wherever Dagster is started.
    """
    # A JSON string is a YAML string, whatever the folder is called.
    base_dir = json.dumps((home / "dagster").as_posix(), ensure_ascii=False)
    return (_FILES / "dagster.yaml").read_text().replace("data/dagster", base_dir)


def workspace_yaml() -> str:
    """Return the workspace: our one code location, the same for every home."""
    return (_FILES / "workspace.yaml").read_text()
