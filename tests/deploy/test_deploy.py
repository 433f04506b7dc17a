"""What `deploy/` has: manifests that Kubernetes takes, and files that name what exists.

No cluster and no container engine runs here. So manifests are validated against Kubernetes' own schemas, and every
program, option, setting and path that a file names is looked up.
"""

import base64
import configparser
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes
import kubernetes_validate
import pytest
import yaml
from dagster import DagsterRun
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from support.servers import two_free_ports

from implio_pipeline.domain.checkup import Level
from implio_pipeline.domain.errors import KeyServiceDenied, KeyServiceUnavailable
from implio_pipeline.domain.key_addresses import TransitAddress
from implio_pipeline.domain.keys import HOME
from implio_pipeline.orchestration import cluster_launchers
from implio_pipeline.orchestration.k8s_pods import USER
from implio_pipeline.orchestration.workers import STEP_POD
from implio_pipeline.settings import RUN_QUEUE, STEP_QUEUE, Settings, load_settings
from implio_pipeline.stores.keys.transit import TransitKeyRing

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(DEPLOY / "k8s"))
import render  # noqa: E402

VALUES = render.Values(image="registry.example.org/implio@sha256:" + 64 * "a", trusted_proxies=("10.9.0.0/16",))
MANIFESTS = render.manifests(VALUES)
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DEFAULTS = ROOT / "implio_pipeline" / "default_settings.toml"
OURS = {name: each for name, each in COMPOSE["services"].items() if each["image"] == "implio-pipeline"}


def named(kind: str) -> Iterator[dict[str, Any]]:
    return (each for each in MANIFESTS if each["kind"] == kind)


def pods() -> dict[str, dict[str, Any]]:
    """Return the pod of each manifest that has one."""
    return {
        each["metadata"]["name"]: each["spec"]["template"] for each in MANIFESTS if "template" in each.get("spec", {})
    }


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home as `implio init` makes it, with the settings of the config map and the secret that a cluster has."""
    shutil.copy(DEFAULTS, tmp_path / "implio.toml")
    for name, value in render.settings(VALUES).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IMPLIO_DAGSTER__STORAGE", "postgresql://dagster:zqzq-password@db/dagster")
    return tmp_path


@pytest.fixture
def run_job(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The job that our launcher makes of a run."""
    monkeypatch.setattr("dagster_k8s.launcher.load_kubernetes_config", lambda **_: None)
    launcher: Any = cluster_launchers.launcher_of(load_settings(home).dagster, home=render.HOME, inst_data=None)
    context = launcher.get_container_context_for_run(DagsterRun(job_name="a_job"))
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config(job_image=None, run_launcher=launcher),
        ["dagster", "api", "execute_run", "{}"],
        "dagster-run-1",
        context.run_k8s_config,
    )
    return kubernetes.client.ApiClient().sanitize_for_serialization(job)


# Kubernetes


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_kubernetes_takes_every_manifest(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_a_manifest_with_a_misspelt_field_is_refused() -> None:
    (daemon, *_) = named("Deployment")
    broken = yaml.safe_load(yaml.safe_dump(daemon))
    broken["spec"]["template"]["spec"]["containers"][0]["securityContex"] = {}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_the_checked_in_manifests_are_what_the_defaults_make() -> None:
    assert (DEPLOY / "k8s" / "implio.yaml").read_text() == render.rendered(render.Values()), (
        "run: python deploy/k8s/render.py > deploy/k8s/implio.yaml"
    )


def hardened(template: dict[str, Any], *, is_launcher: bool) -> None:
    pod = template["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == USER
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is is_launcher
    assert pod.get("serviceAccountName", pod.get("serviceAccount")) in (
        {"implio-launcher"} if is_launcher else {"implio-app", "implio-run"}
    )
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for each in (*pod["containers"], *pod.get("initContainers", [])):
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(each["resources"]["requests"])
        assert "memory" in each["resources"]["limits"]
        assert "@sha256:" in each["image"]
        # Secrets come by reference alone.
        assert all("SECRET" not in one["name"] and "PASSWORD" not in one["name"] for one in each["env"])
        assert each["envFrom"] == [
            {"configMapRef": {"name": "implio-settings"}},
            {"secretRef": {"name": "implio-secrets"}},
        ]
        assert {"name": "home", "mountPath": "/var/lib/implio", "subPath": "home"} in each["volumeMounts"]
    assert not [each for each in pod["volumes"] if "hostPath" in each]
    # What a pod writes into the home outlives it.
    assert {"name": "home", "persistentVolumeClaim": {"claimName": "implio-home"}} in pod["volumes"]


@pytest.mark.parametrize("name", pods())
def test_every_pod_is_hardened_and_only_the_launchers_have_a_token(name: str) -> None:
    hardened(pods()[name], is_launcher=name in ("implio-daemon", "implio-webserver"))


def test_the_job_of_a_run_is_valid_hardened_and_holds_no_secret(run_job: dict[str, Any]) -> None:
    kubernetes_validate.validate(run_job, kubernetes_validate.latest_version(), strict=True)
    hardened(run_job["spec"]["template"], is_launcher=False)
    assert run_job["spec"]["backoffLimit"] == 0
    assert run_job["spec"]["template"]["spec"]["containers"][0]["image"] == VALUES.image
    assert "zqzq-password" not in str(run_job)
    assert run_job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/part-of"] == "implio"


def test_a_run_that_starts_its_steps_as_jobs_has_a_token_and_its_steps_have_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = dataclasses.replace(VALUES, has_steps_as_jobs=True)
    for name, value in render.settings(values).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("dagster_k8s.launcher.load_kubernetes_config", lambda **_: None)
    settings = load_settings(home)
    launcher: Any = cluster_launchers.launcher_of(settings.dagster, home=render.HOME, inst_data=None)
    of_run = launcher.get_container_context_for_run(DagsterRun(job_name="a_job"))
    of_step = of_run.merge(K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(STEP_POD)))

    jobs = {}
    for name, context in {"run": of_run, "step": of_step}.items():
        config = context.get_k8s_job_config(job_image=None, run_launcher=launcher)
        job = construct_dagster_k8s_job(config, ["dagster"], name, context.run_k8s_config)
        jobs[name] = kubernetes.client.ApiClient().sanitize_for_serialization(job)

    for each in (*render.manifests(values), *jobs.values()):
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    hardened(jobs["run"]["spec"]["template"], is_launcher=True)
    assert jobs["step"]["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    assert jobs["step"]["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    (policy,) = (each for each in render.manifests(values) if each["metadata"]["name"] == "launcher")
    assert policy["spec"]["podSelector"]["matchExpressions"][0]["values"] == ["daemon", "webserver", "run"]


def test_nothing_is_allowed_that_no_policy_names() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in named("NetworkPolicy")}

    assert policies["deny-all"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [],
        "egress": [],
    }
    opened = {name for name, spec in policies.items() if any(spec.get("ingress", []))}
    assert opened == {"api", "webserver"}
    assert all(rule.get("from") for name in opened for rule in policies[name]["ingress"])
    everywhere = {name for name, spec in policies.items() for rule in spec.get("egress", []) if "to" not in rule}
    assert everywhere == {"launcher"}


def test_the_role_of_the_launcher_has_no_wildcard_and_reads_no_secret() -> None:
    (role,) = named("Role")

    named_in_it = {text for rule in role["rules"] for texts in rule.values() for text in texts}
    assert "*" not in named_in_it
    assert "secrets" not in named_in_it
    assert not list(named("ClusterRole"))


def test_every_account_selector_and_volume_that_is_named_exists() -> None:
    accounts = {each["metadata"]["name"] for each in named("ServiceAccount")}
    maps = {each["metadata"]["name"] for each in named("ConfigMap")}
    for template in pods().values():
        assert template["spec"]["serviceAccountName"] in accounts
        volumes = {each["name"]: each for each in template["spec"]["volumes"]}
        for each in (*template["spec"]["containers"], *template["spec"].get("initContainers", [])):
            assert {mount["name"] for mount in each["volumeMounts"]} <= set(volumes)
        sources = [each for one in template["spec"]["containers"] for each in one["envFrom"]]
        assert {each["configMapRef"]["name"] for each in sources if "configMapRef" in each} == maps
        claimed = {
            each["persistentVolumeClaim"]["claimName"]
            for each in volumes.values()
            if "emptyDir" not in each and "secret" not in each
        }
        assert claimed == {each["metadata"]["name"] for each in named("PersistentVolumeClaim")}
    labels = [template["metadata"]["labels"].items() for template in pods().values()]
    for service in named("Service"):
        assert any(service["spec"]["selector"].items() <= each for each in labels)


def test_the_settings_of_the_config_map_are_settings(home: Path) -> None:
    settings = load_settings(home)

    assert settings.dagster.launcher == "k8s"
    assert settings.dagster.k8s.image == VALUES.image
    assert [str(each) for each in settings.api.trusted_proxies] == ["10.9.0.0/16"]
    (api,) = (each for each in named("Deployment") if each["metadata"]["name"] == "implio-api")
    longest = settings.api.drain_seconds + settings.api.shutdown_seconds
    assert api["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > longest


# Compose, units, image


def commands() -> dict[str, list[str]]:
    """Return every command of ours that a file of `deploy/` starts."""
    found = {f"compose {name}": list(map(str, each["command"])) for name, each in OURS.items()}
    del found["compose certificate"]  # a test runs it
    for name, template in pods().items():
        containers = (*template["spec"]["containers"], *template["spec"].get("initContainers", []))
        found |= {f"{name} {each['name']}": each["command"] for each in containers}
        for each in containers:
            if "exec" in each.get("livenessProbe", {}):
                found[f"{name} probe"] = each["livenessProbe"]["exec"]["command"]
    for unit in UNITS:
        found[unit.name] = shlex.split(unit_of(unit)["Service"]["ExecStart"])
    scripts = {name: each for name, each in found.items() if each[:2] == ["sh", "-c"]}
    for name, (_, _, script) in scripts.items():
        del found[name]
        for number, part in enumerate(re.split(r"\|\||&&|;", script)):
            if not part.strip().startswith("test "):
                found[f"{name} {number}"] = shlex.split(part)
    return found


def unit_of(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(path)
    return parser


def test_each_way_of_deployment_starts_what_executes_runs_and_the_steps_that_share_them(home: Path) -> None:
    # Compose, and units with `dagster.launcher` and `dagster.executor` = "celery": a worker for each queue.
    for way in ("compose ", "implio-"):
        queues = {
            each[each.index("-Q") + 1] for name, each in commands().items() if name.startswith(way) and "-Q" in each
        }
        assert queues == {RUN_QUEUE, STEP_QUEUE}, way
    environment = OURS["worker"]["environment"]
    assert (environment["IMPLIO_DAGSTER__LAUNCHER"], environment["IMPLIO_DAGSTER__EXECUTOR"]) == ("celery", "celery")
    assert int(environment["IMPLIO_WORKERS__MOST"]) > 1
    # Kubernetes: jobs of their own, or processes in the run's pod. Nothing else is to be started.
    assert (load_settings(home).dagster.executor, load_settings(home).workers.most) == ("multiprocess", 2)
    as_jobs = render.settings(dataclasses.replace(VALUES, has_steps_as_jobs=True))
    assert (as_jobs["IMPLIO_DAGSTER__EXECUTOR"], as_jobs["IMPLIO_WORKERS__MOST"]) == ("k8s", "4")
    # One machine without a broker: the workers are processes of the run, and the daemon starts the runs.
    assert "implio-daemon.service" in commands()


@pytest.mark.parametrize("name", commands())
def test_every_command_exists_and_knows_its_options(name: str) -> None:
    program, *rest = commands()[name]
    words = [each for each in rest if re.fullmatch("[a-z][a-z-]*", each) and "/" not in each]
    beside = Path(sys.executable).with_name(Path(program).name)
    assert beside.is_file(), f"{program} is not installed"

    known = {"implio": 1, "dagster": 2, "dagster-daemon": 1, "celery": 0, "dagster-webserver": 0}[beside.name]
    told = help_of(beside, *words[:known])
    if beside.name == "celery":
        told = help_of(beside, "worker") + " -A "
    for option in (each for each in rest if each.startswith("-")):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", told), option


@cache
def help_of(*command: Path | str) -> str:
    """Return what a command says of itself; each is asked once, for a process takes a second."""
    return subprocess.run([*command, "--help"], check=True, capture_output=True, text=True).stdout


def test_every_setting_that_compose_and_units_name_exists() -> None:
    names = {name for each in OURS.values() for name in each["environment"]}
    names |= set(re.findall(r"\bIMPLIO_[A-Z_]+(?==)", "".join(unit.read_text() for unit in UNITS)))
    names = {name for name in names if name.startswith("IMPLIO_")} - {"IMPLIO_HOME"}

    assert {"IMPLIO_CATALOG_URL", "IMPLIO_DAGSTER__STORAGE"} <= names
    for name in names:
        top, *deeper = name.removeprefix("IMPLIO_").lower().split("__")
        field = Settings.model_fields[top]
        if deeper and top != "regions":
            assert deeper[0] in field.annotation.model_fields, name


def test_every_container_of_compose_is_read_only_and_without_capabilities() -> None:
    for name, each in OURS.items():
        assert each["read_only"] is True, name
        assert each["cap_drop"] == ["ALL"], name
        assert each["security_opt"] == ["no-new-privileges:true"], name
        assert each["user"] == f"{USER}:{USER}", name
    published = [port for each in COMPOSE["services"].values() for port in each.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
    for name, each in COMPOSE["services"].items():
        assert set(each.get("depends_on", {})) <= set(COMPOSE["services"]), name
    assert (DEPLOY / "create_dagster_database.sql").is_file()


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_every_unit_is_hardened(unit: Path) -> None:
    service = unit_of(unit)["Service"]

    assert service["User"] == "implio"
    assert service["CapabilityBoundingSet"] == ""
    assert service["LimitCORE"] == "0"
    for name, value in {
        **dict.fromkeys(("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "RestrictSUIDSGID"), "yes"),
        "ProtectSystem": "strict",
        "ReadWritePaths": "/var/lib/implio",
        "UMask": "0077",
    }.items():
        assert service[name] == value, name


def test_the_image_runs_as_nobody_in_particular_and_takes_its_base_by_digest() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    last = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM ")) :]

    assert f"USER {USER}:{USER}" in last
    assert not [line for line in last if "pip install" in line or "apt-get" in line or "gcc" in line]
    assert not [line for line in lines if line.startswith("ENTRYPOINT")]
    assert any("@sha256:" in line for line in lines)
    copied = [
        part for line in lines if line.startswith("COPY ") and "--from" not in line for part in line.split()[1:-1]
    ]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert all(name in extras for name in re.findall(r"\.\[(\w+)\]", "\n".join(lines)))


def test_openbao_of_compose_unseals_itself_and_lets_the_program_make_and_use_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given OpenBao and its certificate as compose makes them, but for the addresses
    port = two_free_ports()
    _, *code = OURS["certificate"]["command"]
    subprocess.run([sys.executable, *code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    text = (DEPLOY / "openbao.hcl").read_text().replace("/openbao/file", str(tmp_path / "file"))
    text = text.replace("/tls/", f"{tmp_path}/").replace("openbao:8201", f"127.0.0.1:{port + 1}")
    (tmp_path / "openbao.hcl").write_text(re.sub(r"(0\.0\.0\.0|openbao):8200", f"127.0.0.1:{port}", text))
    (tmp_path / "file").mkdir()
    for name, value in {
        "BAO_TOKEN": "token-of-compose",
        "BAO_CACERT": str(tmp_path / "ca.pem"),
        "NO_PROXY": "localhost,127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    ring = TransitKeyRing(HOME, TransitAddress(url=f"https://localhost:{port}", mount="transit", name="implio-home"))

    def is_made() -> bool:
        with suppress(KeyServiceUnavailable, KeyServiceDenied):
            ring.make(HOME)
            return True
        return False

    # when it starts twice, then its keys are made once, and every operation is allowed
    identities = []
    for _ in range(2):
        with openbao(tmp_path) as process:
            while not is_made():
                assert process.poll() is None, (tmp_path / "log").read_text()
            assert [finding.what for finding in ring.findings() if finding.level is not Level.GOOD] == []
            identities.append(ring.identities())
    assert identities[0] == identities[1] != {}


@contextmanager
def openbao(folder: Path) -> Iterator[subprocess.Popen]:
    """Run OpenBao for the length of the block."""
    known = {"IMPLIO_UNSEAL_KEY": base64.b64encode(bytes(range(32))).decode(), "IMPLIO_BAO_TOKEN": "token-of-compose"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("bao"), "server", f"-config={folder / 'openbao.hcl'}"],
            env={"PATH": os.environ["PATH"], "HOME": str(folder)} | known,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()
