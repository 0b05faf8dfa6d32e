#!/usr/bin/python3
"""Checks of the source tree that no compiler makes; one line "ok …" or "not ok …" each.

    check_source.py TREE      the tree is built: its library's symbols are looked at
"""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import indent

# Which folders of src/ a folder may include, beside itself: the tree is the architecture.
LAYERS = {
    "base": set(),
    "kafka": {"base"},
    "registry": {"base"},
    "codec": {"base"},
    "state": {"base"},
    "apply": {"base", "codec", "state"},
    "worker": {"base", "kafka", "state", "apply"},
    "consumer": {"base", "kafka", "registry", "codec", "state", "apply", "worker"},
    "outbox": {"base", "kafka", "state", "apply", "worker"},
    "sql": {"base", "codec", "state", "apply"},
}
# The only files that may include more than their folder.
MORE = {f"sql/{name}": {"kafka"} for name in ("run_read", "run_again", "peek", "topics", "client", "consumer_trigger", "connection", "route_trigger")}
MORE["sql/run_schema"] = {"registry"}

# Where headers of others may be included: the pattern of the header, the files.
CONFINED = {
    r"curl/.*": r"registry/.*",
    r"librdkafka/.*": r"kafka/.*|worker/embedded_broker\.c",
    r"executor/spi\.h": r"(state|apply|worker|consumer|outbox|sql)/.*",
}

# Converting an array converts its elements: these may call each other in a circle.
MAY_CIRCLE = r"codec/convert(_\w+)?"

# What is made, and tested, before its user is.
AHEAD = {"djk_avro_name"}

COMMENT = re.compile(r"/\*.*?\*/", re.S)

# Names in comments that are the server's, the C library's, Java's, or made by a number.
FOREIGN_FILES = {"postgres.h", "regex.h", "async.c"}
FOREIGN_FUNCTIONS = {
    "enum_in", "errfinish", "exit", "incremental_unassign", "json_populate_record", "jsonb_populate_record",
    "nameUUIDFromBytes", "now", "Now", "statement_timestamp", "strtod", "xml_is_document",
}
NUMBERED = r"djk_(\w+_)?\d+"

# There are plainer words: "fix", "again".
UNUSUAL = r"\b(?:mend(?:s|ed|ing)?|anew|whilst|thereof)\b"

# A file of ours with its folder.
PATH = r"(?<![/\w.])(?:\w+/)+\w+(?:\.\w+)*\.(?:c|h|sql|spec|py|sh|md)\b"

FUNCTION_LINES = 80
FILE_LINES = 800

SYMBOLS = re.compile(r"_PG_init|Pg_magic_func|pg_finfo_djkafka_\w+|djkafka_\w+")


def sources(tree: Path) -> list[Path]:
    return sorted([*tree.glob("src/**/*.c"), *tree.glob("src/**/*.h")])


def includes(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
        if found:
            yield number, found[1]


def check_layers(tree: Path) -> Iterator[str]:
    """lower layers never include higher ones"""
    for path in sources(tree):
        name = path.relative_to(tree / "src")
        if len(name.parts) == 1:
            continue  # djkafka.c calls everybody's initialiser
        folder = name.parts[0]
        if folder not in LAYERS:
            yield f"{name}: src/{folder} is in no layer"
            continue
        allowed = LAYERS[folder] | {folder} | MORE.get(str(name.with_suffix("")), set())
        for line, header in includes(path):
            target = header.split("/")[0]
            if (tree / "src" / header).exists() and target not in allowed:
                yield f"{name}:{line}: {folder}/ may not include {header}"


def check_confined_headers(tree: Path) -> Iterator[str]:
    """librdkafka and SPI are included only where their layer is"""
    for path in sources(tree):
        name = str(path.relative_to(tree / "src"))
        for line, header in includes(path):
            for pattern, files in CONFINED.items():
                if re.fullmatch(pattern, header) and not re.fullmatch(files, name):
                    yield f"{name}:{line}: {header} does not belong here"


def check_versions(tree: Path) -> Iterator[str]:
    """only base/compat.h asks for the version of the server"""
    for path in sources(tree):
        name = str(path.relative_to(tree / "src"))
        if name == "base/compat.h":
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.match(r"\s*#.*\bPG_VERSION_NUM\b", line):
                yield f"{name}:{number}: PG_VERSION_NUM"


def check_file_length(tree: Path) -> Iterator[str]:
    """no file is longer than its budget"""
    for path in sources(tree):
        length = len(path.read_text().splitlines())
        if length > FILE_LINES:
            yield f"{path.relative_to(tree)}: {length} lines, {FILE_LINES} are allowed"


def check_function_length(tree: Path) -> Iterator[str]:
    """no function is longer than its budget"""
    for path in sources(tree):
        start = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line == "{":
                start = number
            elif line.startswith("}") and start is not None:
                if number - start - 1 > FUNCTION_LINES:
                    yield f"{path.relative_to(tree)}:{start}: {number - start - 1} lines, {FUNCTION_LINES} are allowed"
                start = None


def check_symbols(tree: Path) -> Iterator[str]:
    """the library exports djkafka's own symbols alone"""
    library = tree / "djkafka.so"
    if not library.exists():
        yield "there is no djkafka.so"
        return
    output = subprocess.run(
        ["nm", "--dynamic", "--defined-only", "--format=posix", library], check=True, capture_output=True, text=True
    ).stdout
    for line in output.splitlines():
        name, kind = line.split()[:2]
        if kind not in "AN" and not SYMBOLS.fullmatch(name.split("@")[0]):
            yield f"exports {name}"


def symbols(tree: Path) -> tuple[dict[str, set[str]], dict[str, str]]:
    """What each object needs of others, and which object has what."""
    needed, defined = {}, {}
    for path in sorted(tree.glob("src/**/*.o")):
        name = str(path.relative_to(tree / "src").with_suffix(""))
        needed[name] = set()
        output = subprocess.run(["nm", "--format=posix", path], check=True, capture_output=True, text=True).stdout
        for symbol, kind, *_ in (line.split() for line in output.splitlines()):
            if kind == "U":
                needed[name].add(symbol)
            elif kind.isupper():
                defined[symbol] = name
    return needed, defined


def reach(graph: dict[str, set[str]], start: str) -> set[str]:
    found, left = set(), [start]
    while left:
        new = graph[left.pop()] - found
        found |= new
        left.extend(new)
    return found


def check_circles(tree: Path) -> Iterator[str]:
    """no files call each other in a circle"""
    needed, defined = symbols(tree)
    if not needed:
        yield "there are no objects"
    graph = {name: {defined[symbol] for symbol in needs if symbol in defined} for name, needs in needed.items()}
    reached = {name: reach(graph, name) for name in graph}
    circles = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph if name in reached[name]}
    for circle in circles:
        if not all(re.fullmatch(MAY_CIRCLE, name) for name in circle):
            yield ", ".join(sorted(circle))


def check_callers(tree: Path) -> Iterator[str]:
    """what a file exports has a user in another one"""
    needed, defined = symbols(tree)
    used = set().union(*needed.values())
    for symbol in sorted(set(defined) - used):
        if not SYMBOLS.fullmatch(symbol) and symbol not in AHEAD:
            yield f"{defined[symbol]}: {symbol}"


def check_macros(tree: Path) -> Iterator[str]:
    """what is defined, listed as a type or made for the tests has a user"""
    texts = {path: path.read_text() for path in [*sources(tree), *sorted((tree / "test/src").glob("*.[ch]"))]}
    count = Counter(word for text in texts.values() for word in re.findall(r"\w+", COMMENT.sub(" ", text)))
    for path, text in texts.items():
        yield from (f"{path.relative_to(tree)}: {name}" for name in re.findall(r"^#define (\w+)", text, re.M) if count[name] == 1)
    yield from (f"typedefs.list: {name}" for name in (tree / "test/tools/typedefs.list").read_text().split() if not count[name])
    scripts = [path for path in (tree / "test").glob("**/*") if path.suffix in (".sql", ".spec", ".py")]
    used = set(re.findall(r"\w+", " ".join(path.read_text() for path in scripts)))
    for path, text in texts.items():
        names = re.findall(r"^PG_FUNCTION_INFO_V1\((djkafka_test_\w+)\)", text, re.M)
        yield from (f"{path.relative_to(tree)}: {name}" for name in names if name not in used)


def check_words(tree: Path) -> Iterator[str]:
    """what is written is plain English"""
    for path in sorted({*tree.glob("src/**/*.[ch]"), *tree.glob("test/**/*.*"), *tree.glob("docs/*.md"), *tree.glob("*.md"), *tree.glob("sql/*.sql")}):
        if path.suffix not in (".c", ".h", ".md", ".sql", ".spec", ".py", ".sh") or path.name == "check_source.py":
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for word in re.findall(UNUSUAL, line, re.I):
                yield f"{path.relative_to(tree)}:{number}: {word}"


def exists(tree: Path, name: str) -> bool:
    """Whether a file is named as from the top of the tree, or as from src/, where comments are."""
    return any((folder / name).exists() for folder in (tree, tree / "src"))


def check_comments(tree: Path) -> Iterator[str]:
    """comments name only files and functions that exist"""
    paths = [*sources(tree), *sorted(tree.glob("test/src/*.[ch]"))]
    texts = {path: path.read_text() for path in paths}
    files = {path.name for path in paths} | FOREIGN_FILES
    words = set(re.findall(r"\w+", (tree / "sql/djkafka--0.1.sql").read_text())) | FOREIGN_FUNCTIONS
    for text in texts.values():
        words.update(re.findall(r"\w+", COMMENT.sub(" ", text)))
    for path, text in texts.items():
        for comment in COMMENT.finditer(text):
            said = re.sub(r'"[^"\n]*"', "", comment[0])
            names = set(re.findall(r"\b(?:djk_|Djk|DJK_)\w+|\b\w+(?=\(\))", said)) - words
            unknown = {name for name in names if not re.fullmatch(NUMBERED, name)}
            unknown |= set(re.findall(r"\b\w+\.[ch]\b", said)) - files
            unknown |= {name for name in re.findall(PATH, said) if not exists(tree, name)}
            line = text.count("\n", 0, comment.start()) + 1
            yield from (f"{path.relative_to(tree)}:{line}: there is no {name}" for name in sorted(unknown))


def check_documents(tree: Path) -> Iterator[str]:
    """CONTRIBUTING.md and design.md name only files and functions that exist"""
    paths = sources(tree)
    files = {path.name for path in paths}
    words = {word for path in paths for word in re.findall(r"\w+", COMMENT.sub(" ", path.read_text()))}
    for path in (tree / "CONTRIBUTING.md", tree / "docs/design.md"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for code in [line] if line.startswith("    ") else re.findall(r"`([^`]+)`", line):
                unknown = set(re.findall(r"\b(?:djk_|Djk[A-Z])\w+", code)) - words
                unknown |= {name for name in re.findall(r"(?<![/\w])\w+\.[ch]\b", code) if name not in files}
                unknown |= {name for name in re.findall(PATH, code) if not exists(tree, name)}
                yield from (f"{path.relative_to(tree)}:{number}: there is no {name}" for name in sorted(unknown))


def check_types(tree: Path) -> Iterator[str]:
    """test/tools/typedefs.list names every type of ours"""
    known = set(indent.TYPEDEFS.read_text().split())
    for path in [*sources(tree), *sorted((tree / "test/src").glob("*.[ch]"))]:
        for name in re.findall(r"^(?:typedef .*?|\})[\s*]*(\w+);$", path.read_text(), re.M):
            if name not in known:
                yield f"{path.relative_to(tree)}: {name} is missing in test/tools/typedefs.list"


def check_layers_are_drawn(tree: Path) -> Iterator[str]:
    """design.md has the folders of src/, and the files that may include more"""
    rows = dict(re.findall(r"^\| (\w+)/ \| (.*) \|$", (tree / "docs/design.md").read_text(), re.M))
    yield from (f"src/{folder}" for folder in sorted(rows.keys() ^ LAYERS.keys()))
    named = {f"sql/{name}" for name in re.findall(r"`(\w+)\.c`", rows.get("sql", ""))}
    yield from (f"{name}.c" for name in sorted(named ^ MORE.keys()))


def check_layout(tree: Path) -> Iterator[str]:
    """C is laid out as test/tools/indent.py does it"""
    program = indent.program()
    if program is None:
        yield "there is no pg_bsd_indent: apt-get install pg-bsd-indent"
        return
    for path in [*sources(tree), *sorted((tree / "test/src").glob("*.[ch]"))]:
        text = path.read_text()
        try:
            if indent.laid_out(text, program) != text:
                yield f"{path.relative_to(tree)}: run test/tools/indent.py"
        except ValueError as error:
            yield f"{path.relative_to(tree)}: {error}"


def check_lists(tree: Path) -> Iterator[str]:
    """every SQL and isolation test is listed, in a line of its own, and has its expected output"""
    for listing, folder, suffix in (("regress", "sql", ".sql"), ("isolation", "specs", ".spec")):
        path = tree / f"test/{listing}.list"
        names = path.read_text().splitlines() if path.exists() else []
        present = {file.stem for file in (tree / "test" / folder).glob(f"*{suffix}")}
        yield from (f"{listing}.list names {name} twice" for name in set(names) if names.count(name) > 1)
        yield from (f"test/{folder}/{name}{suffix} is missing" for name in names if name not in present)
        yield from (f"test/{folder}/{name}{suffix} is not in {listing}.list" for name in present - set(names))
        yield from (f"expected/{name}.out is missing" for name in names if not (tree / f"expected/{name}.out").exists())


def main() -> int:
    tree = Path(sys.argv[1])
    checks = [value for name, value in globals().items() if name.startswith("check_")]
    failed = 0
    for number, check in enumerate(checks, 1):
        findings = list(check(tree))
        print(f"{'not ok' if findings else 'ok'} {number} - {check.__doc__}")
        for finding in findings:
            print(f"#   {finding}")
        failed += bool(findings)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
