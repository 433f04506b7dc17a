"""What `workspace.yaml` and `dg` load. It also loads without a home; then every tick says that the home is missing."""

from implio_pipeline.domain.errors import HomeMissing
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.partitions import FIRST_DAY
from implio_pipeline.settings import find_home, load_settings

try:
    _first_day = load_settings(find_home()).first_day
except HomeMissing:
    _first_day = FIRST_DAY

defs = build_definitions(first_day=_first_day)
