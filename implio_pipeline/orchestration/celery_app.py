"""The app of Celery's workers, with the broker of the home that `IMPLIO_HOME` names.

    celery -A implio_pipeline.orchestration.celery_app worker -Q implio-runs --concurrency 2

A worker needs `DAGSTER_HOME` and `IMPLIO_HOME`, as the daemon does. Each of its processes executes one run at a time.
"""

from implio_pipeline.orchestration.cluster_launchers import celery_app
from implio_pipeline.settings import find_home, load_settings

app = celery_app(load_settings(find_home()).dagster)
