"""What every pod of this program has on Kubernetes, in Kubernetes' own words (camel case).

Two callers: the launcher, for the job of each run, and `deploy/k8s/render.py`, for everything else.

* Nothing runs as root, can gain a privilege or has a capability, and the image is read-only. A pod writes to memory, or
  to the home: a volume that all pods share, which `implio init` fills once.
* Settings come from a config map and secrets from a secret. Both become environment variables, which override the
  home's `implio.toml`. No manifest contains a secret.
"""

from pathlib import Path
from typing import Any

from implio_pipeline.settings import K8sSettings

USER = 10_001
"""The user of the image."""
CLAIM = "implio-home"
"""The claim of the volume that is the home. Every pod mounts it, so its file system must be shared and have locks."""


def pod_security() -> dict[str, Any]:
    """Return the security context of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """Return the security context of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def resources(cpu: str, memory: str) -> dict[str, Any]:
    """Return the resources of a container. Memory is limited; a limit on processor time would only slow it."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def volumes() -> list[dict[str, Any]]:
    """Return the volumes of a pod: the home, and a place for temporary files."""
    return [
        {"name": "home", "persistentVolumeClaim": {"claimName": CLAIM}},
        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},
    ]


def volume_mounts(home: Path) -> list[dict[str, Any]]:
    """Return where they are mounted. The home is a folder in the volume, beside others such as `lost+found`."""
    return [
        {"name": "home", "mountPath": str(home), "subPath": "home"},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 -- in the container
    ]


def environment(home: Path) -> list[dict[str, str]]:
    """Return the variables that name the home."""
    return [{"name": name, "value": str(home)} for name in ("IMPLIO_HOME", "DAGSTER_HOME")]


def run_pod(wanted: K8sSettings, home: Path, *, starts_steps: bool) -> dict[str, Any]:
    """Return what dagster-k8s adds to the job of a run.

    Args:
        wanted: Where and how runs run.
        home: The home, in the pod.
        starts_steps: Whether a run starts a job for each of its workers. Only then it gets the token of its account.
    """
    return {
        "container_config": {
            "securityContext": container_security(),
            "env": [each for each in environment(home) if each["name"] != "DAGSTER_HOME"],  # dagster-k8s adds that one
            "resources": resources(wanted.cpu, wanted.memory),
            "volumeMounts": volume_mounts(home),
        },
        "pod_spec_config": {
            "automountServiceAccountToken": starts_steps,
            "enableServiceLinks": False,
            "securityContext": pod_security(),
            "volumes": volumes(),
        },
        "pod_template_spec_metadata": {"labels": {"app.kubernetes.io/part-of": "implio", "implio/part": "run"}},
        # Dagster starts a failed run again, so Kubernetes must not.
        "job_spec_config": {"backoffLimit": 0, "ttlSecondsAfterFinished": 3600},
    }
