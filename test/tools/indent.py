#!/usr/bin/python3
"""Lays out C as PostgreSQL does: pg_bsd_indent with pgindent's options, and what it needs done before and after.

    indent.py TREE            rewrites the sources of the tree that are not laid out so, and names them

The names of types are in typedefs.list beside this file, for without them "a * b" is a product.  What Debian
12's pg_bsd_indent does not know yet is kept as it was written: characters beyond ASCII, compound literals, and
how far the second line of a variable's value is indented.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# pgindent's, but for the length of lines, which is checked elsewhere.
OPTIONS = (
    "-bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 -i4 -l500 -lp -lpl -nip -npro -sac -tpg -ts4"
).split()
TYPEDEFS = Path(__file__).with_name("typedefs.list")

# What stands for a character beyond ASCII, for the braces of a compound literal, and behind "/*" of what stays.
CHARACTER = "QZQ"
LITERAL = "QZL_"
KEPT = "-QZC"

COMMENT_OF_LINES = re.compile(r"/\*(?!-)((?:[^*\n]|\*(?!/))*\n(?:[^*]|\*(?!/))*)\*/")
COMPOUND_LITERAL = re.compile(r"\((\w+)( \*)?\) \{([^{};]*)\}")
HIDDEN_LITERAL = re.compile(LITERAL + r"(\w+?)(_PTR)?\(([^{};]*?)\)\s?QZR")


def program() -> str | None:
    """pg_bsd_indent: a package of its own in Debian 12, later one of the server's programs."""
    others = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_bsd_indent"))
    return shutil.which("pg_bsd_indent") or (str(others[-1]) if others else None)


def hide(text: str) -> str:
    text = re.sub(r"[^\x00-\x7f]", CHARACTER, text)
    text = COMMENT_OF_LINES.sub(lambda found: f"/*{KEPT}{found[1]}*/", text)
    return COMPOUND_LITERAL.sub(
        lambda found: f"{LITERAL}{found[1]}{'_PTR' if found[2] else ''}({found[3]})QZR", text
    )


def show(text: str, original: str) -> str:
    text = HIDDEN_LITERAL.sub(lambda found: f"({found[1]}{' *' if found[2] else ''}) {{{found[3]}}}", text)
    text = text.replace(f"/*{KEPT}", "/*")
    characters = iter(re.findall(r"[^\x00-\x7f]", original))
    text = re.sub(CHARACTER, lambda _: next(characters), text)
    # Designators are not the members of what stands before the comma.
    text = re.sub(r",\.(?=\w[\w.]* = )", ", .", text)
    # "text" is a type, and the name of many a variable.
    text = re.sub(r"\btext \* (?=\w)", "text *", text)
    # A function's type on a line of its own is no declaration.
    return re.sub(r"^([A-Za-z_][\w ]*?)[ \t]+(\*+)$", r"\1 \2", text, flags=re.M)


def keep_values(text: str, original: str) -> str:
    """pg_bsd_indent 2.1.1 puts the second line of a variable's value below its type."""
    lines, before = text.split("\n"), original.split("\n")
    if len(lines) != len(before):
        return text
    for number in range(1, len(lines)):
        if before[number] == "\t" + lines[number] and lines[number].strip() and not lines[number - 1].endswith((";", "{", "}")):
            lines[number] = before[number]
    return "\n".join(lines)


def laid_out(text: str, indent: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.c"), Path(folder, "after.c")
        before.write_text(hide(text))
        run = subprocess.run([indent, *OPTIONS, f"-U{TYPEDEFS}", before, after], capture_output=True, text=True)
        if run.returncode or run.stderr:
            raise ValueError(run.stderr.strip() or f"pg_bsd_indent ended with {run.returncode}")
        return keep_values(show(after.read_text(), text), text)


def main() -> int:
    indent = program()
    if indent is None:
        sys.exit("there is no pg_bsd_indent: apt-get install pg-bsd-indent")
    for path in sorted([*Path(sys.argv[1]).glob("src/**/*.[ch]"), *Path(sys.argv[1]).glob("test/src/*.[ch]")]):
        text = path.read_text()
        try:
            new = laid_out(text, indent)
        except ValueError as error:
            sys.exit(f"{path}: {error}")
        if new != text:
            path.write_text(new)
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
