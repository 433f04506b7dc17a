"""Every name in the documents exists: files, modules, commands, flags, settings, make targets, decisions and links."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.main import get_command

from implio_pipeline.cli.app import app
from implio_pipeline.settings import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "data/README.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
)
SOURCES = sorted(
    path
    for folder in ("implio_pipeline", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)  # environments that benchmarks make
)
PLACES = (
    *(ROOT, ROOT / "docs", ROOT / "implio_pipeline"),
    *(ROOT / "implio_pipeline" / room for room in ("flows", "stores", "orchestration", "formats")),
)
"""A document may name a file from any of these folders, or from its own."""

HOME = {
    *("landing", "requests", "vault", "catalog", "keys", "ledger", "set-aside", "dagster", "samples"),
    *("implio-ledger", ".work"),
}
"""Folders of a home and of a benchmark. They are made at run time, so a name in them is not looked for."""

PACKAGES = {
    path.name for path in (*(ROOT / "implio_pipeline").iterdir(), *(ROOT / "implio_pipeline/flows").iterdir())
} - {"py.typed"}

_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_DECISION = re.compile(r"\bdecisions?[/ ](\d{4}(?:-[a-z0-9-]+)?)")
_FILE = re.compile(r"(?:[\w-]+/)*[\w-]+\.(?:py|toml|md|j2|yaml)")
_FOLDER = re.compile(r"(?:[\w.-]+/)+")
_DOTTED = re.compile(r"(\w+)(?:\.\w+)+")
_MODULE_RUN = re.compile(r"python3? -m ((?:benchmarks|implio_pipeline)[\w.]*)")
_IMPLIO = re.compile(r"(?:^|\s)implio ([^#;&\n]*)")
_MADE_AT_RUN_TIME = {"implio.toml", "dagster.yaml", "workspace.yaml", "RESULTS.md", "quick.md", "API.md"}


def wrong_names(text: str, document: Path) -> list[str]:
    """Return what a text names and the checkout does not have."""
    prose = _FENCE.sub("", text)
    spans = _SPAN.findall(prose)
    links = _LINK.findall(prose) if document.suffix == ".md" else []
    return [
        *(f"file {name}" for name in spans if not _exists(name, document)),
        *(f"module {name}" for name in spans if not _is_importable(name)),
        *(f"setting {name}" for name in spans if not _is_setting(name)),
        *(f"make {name}" for name in _make_targets(spans, text) if not _is_target(name)),
        *(f"module {name}" for name in _MODULE_RUN.findall(text) if not _module_exists(name)),
        *(f"link {link}" for link in links if not _leads_somewhere(link, document)),
        *(f"decision {name}" for name in _DECISION.findall(text) if not _is_decision(name)),
        *(f"command implio {fault}" for line in _commands(spans, text) for fault in _unknown_words(line)),
    ]


def _exists(name: str, document: Path) -> bool:
    """Return whether a span that looks like a file or folder of the checkout is one; other spans pass."""
    bare = name.split("::", maxsplit=1)[0]
    if not (_FILE.fullmatch(bare) or _FOLDER.fullmatch(bare)) or bare in _MADE_AT_RUN_TIME:
        return True
    if bare.split("/")[0] in HOME and not bare.endswith(".py"):
        return True
    found = [place / bare for place in (*PLACES, document.parent) if (place / bare).exists()]
    return any(path.is_file() or any(path.rglob("*.*")) for path in found)


def _is_importable(name: str) -> bool:
    """Return whether a dotted span that begins with one of our rooms can be imported; other spans pass."""
    if not (match := _DOTTED.fullmatch(name)) or match[1] not in {"implio_pipeline", "benchmarks", *PACKAGES}:
        return True
    if match[1] in Settings.model_fields or name.endswith((".py", ".toml", ".md")):
        return True
    roots = ("", "implio_pipeline.", "implio_pipeline.flows.")
    return any(_resolves(root + name) for root in roots)


def _resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        if _module_exists(".".join(parts[:length])):
            found = import_module(".".join(parts[:length]))
            for attribute in parts[length:]:
                found = getattr(found, attribute, None)
            return found is not None and length > 1
    return False


def _module_exists(dotted: str) -> bool:
    path = ROOT / dotted.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _is_setting(name: str) -> bool:
    """Return whether a span `section.name` is a setting; spans of no section pass."""
    section, dot, field = name.partition(".")
    if not dot or not re.fullmatch(r"[a-z_]+", field) or section not in (sections := _sections()) or _FILE.match(name):
        return True
    return field in sections[section].model_fields


@cache
def _sections() -> dict[str, type[BaseModel]]:
    annotations = ((name, field.annotation) for name, field in Settings.model_fields.items())
    return {name: kind for name, kind in annotations if isinstance(kind, type) and issubclass(kind, BaseModel)}


def _commands(spans: list[str], text: str) -> Iterator[str]:
    lines = (line for fence in _FENCE.findall(text) for line in fence.splitlines())
    for line in (*spans, *lines):
        yield from _IMPLIO.findall(line)


def _make_targets(spans: list[str], text: str) -> Iterator[str]:
    lines = (line for fence in _FENCE.findall(text) for line in fence.splitlines())
    for line in (*spans, *lines):
        if match := re.match(r"make ([a-z-]+)(?:\s|$)", line):
            yield match[1]


def _is_target(name: str) -> bool:
    return re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.MULTILINE) is not None


def _leads_somewhere(link: str, document: Path) -> bool:
    """Return whether a local link leads to a file, and its anchor to a heading there; web addresses pass."""
    if re.match(r"[a-z]+:", link):
        return True
    address, _, anchor = link.partition("#")
    path = document.parent / address if address else document
    return path.exists() and (not anchor or anchor in _anchors(path))


def _anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def _is_decision(name: str) -> bool:
    return any(path.stem == name or path.stem[:4] == name for path in (ROOT / "docs/decisions").glob("*.md"))


def _unknown_words(line: str) -> Iterator[str]:
    """Follow the words of a command line through the groups of `implio`; yield commands and flags that do not exist."""
    command: Any = _implio()
    root, path = command, ""
    for word in re.split(r"[\s,()\[\]\\|]+", line.replace("…", " ").strip()):
        inner: dict[str, Any] | None = getattr(command, "commands", None)
        if word.startswith("--"):
            if not _has_flag(command, word.split("=")[0].rstrip(".:")) and not _has_flag(root, word):
                yield f"{path}{word}"
        elif inner is not None and re.fullmatch(r"[a-z][a-z-]*[.:]?", word):
            if (name := word.rstrip(".:")) not in inner:
                yield f"{path}{name}"
                return
            command, path = inner[name], f"{path}{name} "


@cache
def _implio() -> Any:
    return get_command(app)


def _has_flag(command: Any, flag: str) -> bool:
    return flag == "--help" or any(flag in (*parameter.opts, *parameter.secondary_opts) for parameter in command.params)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_in_a_document_exists(document: Path) -> None:
    assert wrong_names(document.read_text(), document) == [], (
        f"{document.relative_to(ROOT)} names what does not exist: correct the name, or the code"
    )


def test_every_file_command_and_decision_that_code_names_exists() -> None:
    texts = {path: path.read_text() for path in SOURCES if path != Path(__file__)}

    wrong = [(str(path.relative_to(ROOT)), name) for path, text in texts.items() for name in wrong_names(text, path)]

    assert sum(len(_DECISION.findall(text)) for text in texts.values()) > 10, "the pattern no longer finds citations"
    assert wrong == []


@pytest.mark.parametrize(
    "planted",
    [
        "see `stores/ledger/absent.py`",
        "see `tests/flows/test_absent.py`",
        "the room `flows/absent/`",
        "`flows.files.submit.absent` adds rows",
        "`domain.absent`",
        "set `api.absent_minutes`",
        "run `make absent`",
        "run `python -m benchmarks.absent`",
        "see [there](absent.md)",
        "see [there](ARCHITECTURE.md#absent)",
        "see decision 9999",
        "`docs/decisions/0001-absent.md`",
        "run `implio absent`",
        "run `implio receipts absent`",
        "run `implio receipts verify --absent`",
        "```sh\nimplio erase --absent acme\n```",
    ],
)
def test_a_wrong_name_is_found(planted: str) -> None:
    assert wrong_names(planted, ROOT / "docs/ARCHITECTURE.md") != []


@pytest.mark.parametrize(
    "true",
    [
        "see `verify.py`, `flows/faults.py`, `tests/test_documents.py` and `keys/`",
        "`flows.files.submit.add_rows`, `api.merge_from_files`, `make demo`, `python -m benchmarks.walks`",
        "[there](ARCHITECTURE.md#jobs), decision 0001, `docs/decisions/0001`",
        "`implio erase --team T (--user U \\| --task T)`, `implio receipts verify --against FILE`, `implio …`",
    ],
)
def test_a_true_name_passes(true: str) -> None:
    assert wrong_names(true, ROOT / "docs/ARCHITECTURE.md") == []
