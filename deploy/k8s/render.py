"""Render the Kubernetes manifests from a few values.

    python deploy/k8s/render.py --image registry.example.org/implio@sha256:… --egress 10.0.0.0/8 > implio.yaml
    kubectl apply -f implio.yaml

`deploy/k8s/implio.yaml` is the output with the defaults; a test compares them. Decision 0099 says why this is a program
and not a chart. The rules for all pods, also those of runs, are in `implio_pipeline/orchestration/k8s_pods.py`.

The manifests name two secrets, which you make: `implio-secrets`, whose keys become environment variables
(`IMPLIO_CATALOG_URL`, `IMPLIO_DAGSTER__STORAGE`, `BAO_TOKEN`, …), and `implio-tls` with the API's certificate.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from implio_pipeline.orchestration import k8s_pods as pods

HOME = Path("/var/lib/implio")
NAMESPACE, CONFIG_MAP, SECRET, TLS = "implio", "implio-settings", "implio-secrets", "implio-tls"
_API_PORT, _UI_PORT = 8443, 3000
_DRAIN_SECONDS, _SHUTDOWN_SECONDS = 10, 30
_MOST_JOBS, _MOST_PROCESSES = 4, 2
Manifest = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Values:
    """What differs between clusters."""

    image: str = "implio-pipeline@sha256:" + 64 * "0"
    """The image, by digest."""
    transit: str = "https://openbao.openbao.svc:8200"
    """The key service."""
    egress: tuple[str, ...] = ("10.0.0.0/8",)
    """Where PostgreSQL, object storage and the key service are."""
    egress_ports: tuple[int, ...] = (5432, 443, 8200)
    trusted_proxies: tuple[str, ...] = ()
    """Networks of the ingress controller, whose `X-Forwarded-For` is believed."""
    ingress_namespace: str = "ingress-nginx"
    """The namespace whose pods reach the API."""
    storage_class: str = ""
    """The class of the home's volume, which all pods share; the cluster's default when empty."""
    home_size: str = "100Gi"
    has_steps_as_jobs: bool = False
    """Whether the workers that share a run are jobs of their own. Then runs start jobs, and need the rights for it."""
    least_servers: int = 2
    most_servers: int = 6


def manifests(values: Values) -> list[Manifest]:
    """Return all manifests, in the order in which they are applied."""
    return [
        _namespace(),
        *_accounts(),
        _config_map(values),
        _home(values),
        *_network_policies(values),
        _preparing_job(values),
        *_api(values),
        _daemon(values),
        *_webserver(values),
    ]


def settings(values: Values) -> dict[str, str]:
    """Return the settings as environment variables. They override the `implio.toml` that `implio init` makes."""
    # The workers that share a run are jobs of their own, or processes in the run's pod, which share its memory.
    steps = {"IMPLIO_DAGSTER__EXECUTOR": "k8s"} if values.has_steps_as_jobs else {}
    return steps | {
        "IMPLIO_WORKERS__MOST": str(_MOST_JOBS if values.has_steps_as_jobs else _MOST_PROCESSES),
        "IMPLIO_HOME_KEYS": f"transit:{values.transit}/implio-home",
        **{f"IMPLIO_REGIONS__{name.upper()}__VAULT": f"vault/{name}" for name in ("eu", "us")},
        **{f"IMPLIO_REGIONS__{name.upper()}__KEYS": f"transit:{values.transit}/implio-{name}" for name in ("eu", "us")},
        "IMPLIO_API__HOST": "0.0.0.0",  # noqa: S104 -- in its pod; the network policy says who reaches it
        "IMPLIO_API__PORT": str(_API_PORT),
        "IMPLIO_API__CERTIFICATE": "/etc/implio/tls/tls.crt",
        "IMPLIO_API__PRIVATE_KEY": "/etc/implio/tls/tls.key",
        "IMPLIO_API__DRAIN_SECONDS": str(_DRAIN_SECONDS),
        "IMPLIO_API__SHUTDOWN_SECONDS": str(_SHUTDOWN_SECONDS),
        "IMPLIO_API__TRUSTED_PROXIES": json.dumps(values.trusted_proxies),
        "IMPLIO_DAGSTER__LAUNCHER": "k8s",
        "IMPLIO_DAGSTER__K8S__NAMESPACE": NAMESPACE,
        "IMPLIO_DAGSTER__K8S__IMAGE": values.image,
        "IMPLIO_DAGSTER__K8S__SERVICE_ACCOUNT": "implio-launcher" if values.has_steps_as_jobs else "implio-run",
        "IMPLIO_DAGSTER__K8S__CONFIG_MAP": CONFIG_MAP,
        "IMPLIO_DAGSTER__K8S__SECRET": SECRET,
    }


def _object(kind: str, name: str, *, version: str = "v1", **rest: Any) -> Manifest:
    metadata = {"name": name, "labels": {"app.kubernetes.io/part-of": "implio"}}
    if kind != "Namespace":
        metadata["namespace"] = NAMESPACE
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _namespace() -> Manifest:
    made = _object("Namespace", NAMESPACE)
    # Kubernetes itself refuses a pod that breaks the rules of `k8s_pods.py`.
    made["metadata"]["labels"] |= {
        f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
    }
    return made


def _accounts() -> list[Manifest]:
    """Return the service accounts. Only the launcher's has rights: to start, watch and delete the jobs of runs."""
    silent = [
        _object("ServiceAccount", name, automountServiceAccountToken=False) for name in ("implio-app", "implio-run")
    ]
    launcher = _object("ServiceAccount", "implio-launcher", automountServiceAccountToken=False)
    rules = [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "watch", "delete"]},
        {"apiGroups": ["batch"], "resources": ["jobs/status"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/log", "events"], "verbs": ["get", "list"]},
    ]
    rbac = "rbac.authorization.k8s.io"
    return [
        *silent,
        launcher,
        _object("Role", "implio-launcher", version=f"{rbac}/v1", rules=rules),
        _object(
            "RoleBinding",
            "implio-launcher",
            version=f"{rbac}/v1",
            roleRef={"apiGroup": rbac, "kind": "Role", "name": "implio-launcher"},
            subjects=[{"kind": "ServiceAccount", "name": "implio-launcher", "namespace": NAMESPACE}],
        ),
    ]


def _config_map(values: Values) -> Manifest:
    return _object("ConfigMap", CONFIG_MAP, data=settings(values))


def _home(values: Values) -> Manifest:
    """Return the claim of the home's volume. All pods share its file system, which must have locks (NFS 4)."""
    spec: Manifest = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": values.home_size}},
    }
    if values.storage_class:
        spec["storageClassName"] = values.storage_class
    return _object("PersistentVolumeClaim", pods.CLAIM, spec=spec)


def _network_policies(values: Values) -> list[Manifest]:
    """Return the network policies: one forbids everything, and each other one allows a connection that is needed."""
    v1 = "networking.k8s.io/v1"

    def policy(name: str, selector: Manifest, **spec: Any) -> Manifest:
        kinds = [kind.capitalize() for kind in ("ingress", "egress") if kind in spec]
        return _object("NetworkPolicy", name, version=v1, spec={"podSelector": selector, "policyTypes": kinds, **spec})

    def of(*parts: str) -> Manifest:
        return {"matchExpressions": [{"key": "implio/part", "operator": "In", "values": list(parts)}]}

    ours = {"matchLabels": {"app.kubernetes.io/part-of": "implio"}}
    dns = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    from_ingress = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": values.ingress_namespace}}}
    from_people = {"podSelector": {"matchLabels": {"implio/may-see-runs": "true"}}}
    return [
        policy("deny-all", {}, ingress=[], egress=[]),
        policy(
            "names",
            ours,
            egress=[
                {"to": [dns], "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]},
            ],
        ),
        policy(
            "stores",
            ours,
            egress=[
                {
                    "to": [{"ipBlock": {"cidr": each}} for each in values.egress],
                    "ports": [{"protocol": "TCP", "port": port} for port in values.egress_ports],
                }
            ],
        ),
        # The address of Kubernetes' own API differs between clusters, so only its ports are given.
        policy(
            "launcher",
            of("daemon", "webserver", *(["run"] if values.has_steps_as_jobs else [])),
            egress=[{"ports": [{"protocol": "TCP", "port": port} for port in (443, 6443)]}],
        ),
        policy("api", of("api"), ingress=[{"from": [from_ingress], "ports": [{"protocol": "TCP", "port": _API_PORT}]}]),
        policy(
            "webserver",
            of("webserver"),
            ingress=[{"from": [from_people], "ports": [{"protocol": "TCP", "port": _UI_PORT}]}],
        ),
    ]


def _pod(part: str, account: str, containers: list[Manifest], **rest: Any) -> Manifest:
    """Return the template of a pod. Only the launcher's account has a token."""
    labels = {"app.kubernetes.io/part-of": "implio", "implio/part": part}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    volumes = [*pods.volumes(), *rest.pop("volumes", [])]
    return {
        "metadata": {"labels": labels},
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": account == "implio-launcher",
            "enableServiceLinks": False,
            "securityContext": pods.pod_security(),
            "topologySpreadConstraints": [spread],
            "containers": containers,
            "volumes": volumes,
            **rest,
        },
    }


def _container(values: Values, name: str, *command: str, cpu: str, memory: str, **rest: Any) -> Manifest:
    mounts = [*pods.volume_mounts(HOME), *rest.pop("volumeMounts", [])]
    return {
        "name": name,
        "image": values.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "workingDir": str(HOME),
        "env": pods.environment(HOME),
        "envFrom": [{"configMapRef": {"name": CONFIG_MAP}}, {"secretRef": {"name": SECRET}}],
        "resources": pods.resources(cpu, memory),
        "securityContext": pods.container_security(),
        "volumeMounts": mounts,
        **rest,
    }


def _preparing_job(values: Values) -> Manifest:
    """Return the job that makes the home once, brings all tables up to date, and checks the installation.

    Its name changes with the image, since a job cannot be changed. Apply it and wait for it, then apply the others.
    """
    name = f"implio-prepare-{values.image.rpartition(':')[2][:12]}"
    pod = _pod(
        "prepare",
        "implio-app",
        [_container(values, "doctor", "implio", "doctor", cpu="100m", memory="1Gi")],
        initContainers=[
            _container(
                *(values, "home", "sh", "-c", f"test -f implio.toml || implio init {HOME}"), cpu="100m", memory="1Gi"
            ),
            _container(values, "dagster", "dagster", "instance", "migrate", cpu="100m", memory="1Gi"),
        ],
        restartPolicy="OnFailure",
    )
    spec = {"backoffLimit": 6, "activeDeadlineSeconds": 900, "ttlSecondsAfterFinished": 86_400, "template": pod}
    return _object("Job", name, version="batch/v1", spec=spec)


def _deployment(name: str, template: Manifest, *, replicas: int | None, strategy: Manifest) -> Manifest:
    spec = {
        "selector": {"matchLabels": template["metadata"]["labels"]},
        "strategy": strategy,
        "revisionHistoryLimit": 3,
        "template": template,
    }
    # The autoscaler sets the number of API servers.
    return _object(
        "Deployment", name, version="apps/v1", spec=spec if replicas is None else {"replicas": replicas, **spec}
    )


def _api(values: Values) -> list[Manifest]:
    def probe(path: str, **rest: int) -> Manifest:
        return {"httpGet": {"path": path, "port": "https", "scheme": "HTTPS"}, **rest}

    container = _container(
        values,
        "api",
        "implio",
        "serve",
        cpu="500m",
        memory="2Gi",
        ports=[{"name": "https", "containerPort": _API_PORT}],
        startupProbe=probe("/v1/health", periodSeconds=2, failureThreshold=60),
        readinessProbe=probe("/v1/ready", periodSeconds=2, failureThreshold=1, timeoutSeconds=5),
        livenessProbe=probe("/v1/health", periodSeconds=10, failureThreshold=6, timeoutSeconds=10),
        volumeMounts=[{"name": "tls", "mountPath": "/etc/implio/tls", "readOnly": True}],
    )
    template = _pod(
        "api",
        "implio-app",
        [container],
        volumes=[{"name": "tls", "secret": {"secretName": TLS, "defaultMode": 0o440}}],
        terminationGracePeriodSeconds=_DRAIN_SECONDS + _SHUTDOWN_SECONDS + 10,
    )
    labels = template["metadata"]["labels"]
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    scaled = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "implio-api"},
        "minReplicas": values.least_servers,
        "maxReplicas": values.most_servers,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
            }
        ],
    }
    return [
        _deployment("implio-api", template, replicas=None, strategy=rolling),
        _object(
            "Service",
            "implio-api",
            spec={"selector": labels, "ports": [{"name": "https", "port": 443, "targetPort": "https"}]},
        ),
        _object(
            "PodDisruptionBudget",
            "implio-api",
            version="policy/v1",
            spec={"minAvailable": 1, "selector": {"matchLabels": labels}},
        ),
        _object("HorizontalPodAutoscaler", "implio-api", version="autoscaling/v2", spec=scaled),
    ]


def _daemon(values: Values) -> Manifest:
    """Return the daemon: one at a time, since two would start every run twice."""
    container = _container(
        values,
        "daemon",
        *("dagster-daemon", "run", "-w", str(HOME / "workspace.yaml")),
        cpu="500m",
        memory="2Gi",
        livenessProbe={
            "exec": {"command": ["dagster-daemon", "liveness-check"]},
            "initialDelaySeconds": 120,
            "periodSeconds": 60,
            "timeoutSeconds": 30,
            "failureThreshold": 5,
        },
    )
    template = _pod("daemon", "implio-launcher", [container], terminationGracePeriodSeconds=60)
    return _deployment("implio-daemon", template, replicas=1, strategy={"type": "Recreate"})


def _webserver(values: Values) -> list[Manifest]:
    """Return Dagster's UI. It has no login, so the network policy admits only labelled pods: a proxy that has one."""
    probe = {"httpGet": {"path": "/server_info", "port": "http"}, "periodSeconds": 10, "timeoutSeconds": 10}
    container = _container(
        values,
        "webserver",
        *("dagster-webserver", "-h", "0.0.0.0", "-p", str(_UI_PORT), "-w", str(HOME / "workspace.yaml")),  # noqa: S104
        cpu="250m",
        memory="1Gi",
        ports=[{"name": "http", "containerPort": _UI_PORT}],
        startupProbe={**probe, "failureThreshold": 30},
        readinessProbe=probe,
    )
    template = _pod("webserver", "implio-launcher", [container])
    ports = [{"name": "http", "port": _UI_PORT, "targetPort": "http"}]
    return [
        _deployment("implio-webserver", template, replicas=1, strategy={"type": "Recreate"}),
        _object("Service", "implio-webserver", spec={"selector": template["metadata"]["labels"], "ports": ports}),
    ]


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and nothing as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return that everything is written out."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def rendered(values: Values) -> str:
    """Return the manifests as YAML."""
    head = "# Made by deploy/k8s/render.py. Change that, or its values.\n---\n"
    return head + yaml.dump_all(manifests(values), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def main() -> None:
    """Write the manifests to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default=Values.image)
    parser.add_argument("--transit", default=Values.transit)
    parser.add_argument("--egress", action="append", metavar="CIDR")
    parser.add_argument("--trusted-proxy", action="append", metavar="CIDR", default=[])
    parser.add_argument("--storage-class", default=Values.storage_class)
    parser.add_argument("--steps-as-jobs", action="store_true")
    parser.add_argument("--ingress-namespace", default=Values.ingress_namespace)
    asked = parser.parse_args()
    sys.stdout.write(
        rendered(
            Values(
                image=asked.image,
                transit=asked.transit,
                egress=tuple(asked.egress or Values.egress),
                trusted_proxies=tuple(asked.trusted_proxy),
                ingress_namespace=asked.ingress_namespace,
                storage_class=asked.storage_class,
                has_steps_as_jobs=asked.steps_as_jobs,
            )
        )
    )


if __name__ == "__main__":
    main()
