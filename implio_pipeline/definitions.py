"""What `workspace.yaml` and `dg` load. It also loads without a home; then every tick says that the home is missing."""

from implio_pipeline.domain.errors import HomeMissing
from implio_pipeline.orchestration.build import build_definitions
from implio_pipeline.orchestration.workers import workers_executor
from implio_pipeline.settings import find_home, load_settings

try:
    _settings = load_settings(find_home())
except HomeMissing:
    defs = build_definitions()
else:
    defs = build_definitions(first_day=_settings.first_day, executor=workers_executor(_settings))
