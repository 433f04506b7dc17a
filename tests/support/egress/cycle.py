"""The whole cycle of a home in one process, from `init` to `restore`; or one act that speaks to the world, planted.

`python cycle.py HOME [--plant KIND]` prints each step that is done, and at the end the kernel's counters of packets
that found no route. In a network namespace of its own there is no route but loopback's.
"""

import ctypes
import fcntl
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

_UP, _SET_FLAGS = 0x1, 0x8914
"""IFF_UP and SIOCSIFFLAGS of Linux."""
ELSEWHERE = ("192.0.2.1", 443)  # TEST-NET-1, RFC 5737: nobody's


def cycle(home: Path) -> None:
    from typer.testing import CliRunner  # noqa: PLC0415

    from implio_pipeline.cli import app  # noqa: PLC0415

    def implio(*arguments: str, ends_with: tuple[int, ...] = (0,)) -> str:
        result = CliRunner().invoke(app, ["--home", str(home), *arguments])
        if result.exit_code not in ends_with:
            raise SystemExit(f"implio {' '.join(arguments[:2])} ended with {result.exit_code}: {result.output}")
        print(" ".join(arguments[:2]), flush=True)  # noqa: T201
        return result.stdout

    reader = ("--classes", "identity,content", "--purpose", "access-request")
    implio("init", str(home))
    implio("team", "add", "acme", "--region", "eu", "--keep-days", "36500")
    implio("team", "add", "globex", "--region", "us")
    implio("access", "grant", _me(), "--team", "acme", "--days", "2", *reader)
    _land(home, "acme", "first")
    _land(home, "globex", "first", age_seconds=10 * 86_400)
    implio("ingest", ends_with=(0, 5))
    counted = (
        "query",
        "--team",
        "acme",
        *reader,
        "--user",
        "u-88",
        "select count(*) from items where user_key = $user_key",
    )
    implio(*counted)
    implio("export", "--team", "acme", "--user", "u-88")
    implio("erase", "--team", "acme", "--user", "u-88")
    _dagster(home)
    _serve(home, json.loads(implio("--json", "api-keys", "add", "--team", "acme", "--label", "egress"))["key"])
    implio("retention", "set", "--team", "globex", "--keep-days", "1", "--yes")
    implio("retention", "run", "--team", "globex")
    implio("compact")
    implio("keys", "rotate")
    implio("housekeep")
    implio("audit", "--full")
    implio("access", "review")
    implio("access", "verify")
    implio("processors", "list")
    implio("register", "export", "--format", "html")
    implio("receipts", "verify")
    implio("restore", ends_with=(0, 5))
    implio("status", ends_with=(0, 5))


def _me() -> str:
    import getpass  # noqa: PLC0415

    return getpass.getuser()


def _land(home: Path, team: str, name: str, *, age_seconds: int = 60) -> None:
    folder = home / "landing" / team
    folder.mkdir(parents=True, exist_ok=True)
    samples = Path(__file__).parents[3] / "data" / "samples"
    for suffix in ("json", "csv"):
        path = folder / f"{name}.{suffix}"
        shutil.copyfile(samples / f"items.{suffix}", path)
        if name != "first":
            path.write_bytes(path.read_bytes() + b"\n")  # another file, by its digest
        os.utime(path, (time.time() - age_seconds,) * 2)


def _serve(home: Path, key: str) -> None:
    """Post to a server, have a person's items deleted, and wait for the receipt."""
    import httpx  # noqa: PLC0415

    said = [sys.executable, "-W", "ignore", "-c", "from implio_pipeline.cli import main; main()", "--home", str(home)]
    server = subprocess.Popen(
        [*said, "serve", "--jobs", "--port", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    address = server.stderr.readline().split()[-1].replace("127.0.0.1", "localhost")
    trust = ssl.create_default_context(cafile=str(home / "keys" / "tls" / "ca.pem"))
    item = {"id": "ad-1", "content": {"title": "t"}, "user": {"id": "u-api"}}
    with httpx.Client(base_url=address, verify=trust, headers={"X-Api-Key": key}, timeout=60) as client:
        client.post("/v1/ads", json=[item]).raise_for_status()
        status = client.delete("/v1/ads", params={"userId": "u-api"}).raise_for_status().json()
        while status["state"] != "completed":
            time.sleep(0.05)
            status = client.get(status["statusUrl"]).raise_for_status().json()
        client.get(status["receiptUrl"]).raise_for_status()
    server.terminate()
    server.communicate()
    print("serve", flush=True)  # noqa: T201


def _dagster(home: Path) -> None:
    """Land more, drop a request, and do what the daemon would: sensors, nightly schedules, and every other job."""
    import dagster as dg  # noqa: PLC0415

    from implio_pipeline.orchestration.build import build_definitions  # noqa: PLC0415
    from implio_pipeline.orchestration.drive import open_instance, run_ticks  # noqa: PLC0415
    from implio_pipeline.orchestration.resources import HomeResource  # noqa: PLC0415

    _land(home, "acme", "second")
    request = home / "requests" / "inbox" / "please.json"
    request.write_text(json.dumps([{"team": "acme", "type": "user", "userId": "u-12"}]))
    os.utime(request, (time.time() - 60,) * 2)
    ran = run_ticks(home, nightly_on=datetime.now(UTC).date())
    repository = build_definitions(HomeResource(home=str(home))).get_repository_def()
    done = {one.job for one in ran if one.is_success}
    failed = {one.job for one in ran if not one.is_success}
    with open_instance(home) as instance:
        for name in ("housekeeping", "self_audit"):
            result = repository.get_job(name).execute_in_process(instance=instance, raise_on_error=False)
            (done if result.success else failed).add(name)
    if failed or not done:
        raise SystemExit(f"jobs failed: {sorted(failed)}")
    print("dagster", *sorted(done), dg.__name__, flush=True)  # noqa: T201


def plant(kind: str) -> None:
    """Speak to somebody, and swallow the error as a careless library would."""
    try:
        match kind:
            case "connect":
                socket.socket().connect(ELSEWHERE)
            case "look up":
                socket.getaddrinfo("example.org", 443)
            case "send":
                socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ELSEWHERE)
            case "a child's connect":
                code = f"import socket; socket.socket().connect({ELSEWHERE!r})"
                subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.DEVNULL)
            case "native code's connect":
                _connect_natively()
    except OSError:
        pass


def _connect_natively() -> None:
    """Connect as a C++ library would: no Python is asked."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    host, port = ELSEWHERE
    address = struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8)
    libc.connect(handle, address, len(address))
    os.close(handle)


def kernel_counters() -> dict[str, int]:
    """Return how many packets found no route, of both versions of IP."""
    names, values = (line.split()[1:] for line in Path("/proc/net/snmp").read_text().splitlines() if "Ip: " in line)
    four = dict(zip(names, map(int, values), strict=True))
    six = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return {
        "without route": four["OutNoRoutes"],
        "without route, IPv6": int(six.get("Ip6OutNoRoutes", 0)),
    }


def bring_loopback_up() -> None:
    """Let this machine speak to itself; in a network namespace of its own it cannot at first."""
    if "--sealed" in sys.argv:
        flags = struct.pack("16sh", b"lo", _UP)
        with socket.socket(type=socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SET_FLAGS, flags)


if __name__ == "__main__":
    bring_loopback_up()
    if sys.argv[2:3] == ["--plant"]:
        plant(sys.argv[3])
    else:
        cycle(Path(sys.argv[1]))
    print(json.dumps(kernel_counters()))  # noqa: T201
