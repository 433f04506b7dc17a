"""The app of Celery's workers, with the broker of the home that `IMPLIO_HOME` names.

    celery -A implio_pipeline.orchestration.celery_app worker -Q implio-runs --concurrency 2
    celery -A implio_pipeline.orchestration.celery_app worker -Q implio-steps --concurrency 2

A worker needs `DAGSTER_HOME` and `IMPLIO_HOME`, as the daemon does. Each of its processes executes one run at a time,
or one step of a run that several workers share (`celery_steps.py`).
"""

from implio_pipeline.orchestration.celery_steps import add_step_task
from implio_pipeline.orchestration.cluster_launchers import celery_app
from implio_pipeline.settings import find_home, load_settings

app = celery_app(load_settings(find_home()).dagster)
add_step_task(app)
