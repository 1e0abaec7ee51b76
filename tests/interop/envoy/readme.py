"""deploy/envoy/README.md and the top README say what the files say, and name flags that there are."""

import os
import re
import subprocess
import sys
import textwrap

import yaml

from world import HERE, ROOT, SNIPPETS, Skip, need, run_cases, same

# Flags that are in the making: until they are there, their case is skipped.
COMING = re.compile(r"--(tls-|rls-|http-listen|metrics-rules)")
SECTIONS = ("## Moving from envoyproxy/ratelimit", "## With Envoy, Istio, Envoy AI Gateway")


def blocks(text):
    """(info string, what is in it) of each block of code."""
    return re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.M | re.S)


def contains(file, block):
    """Are these lines there, one after the other, as far to the right as may be?"""
    lines, wanted = file.splitlines(), textwrap.dedent(block).splitlines()
    for start in range(len(lines) - len(wanted) + 1):
        if textwrap.dedent("\n".join(lines[start : start + len(wanted)])).splitlines() == wanted:
            return True
    return False


def sections():
    """Of the top README: what is about Envoy."""
    text = (ROOT / "README.md").read_text()
    found = []
    for title in SECTIONS:
        assert text.count(title + "\n") == 1, f"README.md has no {title}"
        found.append(re.split(r"^## ", text.split(title + "\n")[1], flags=re.M)[0])
    return "\n".join(found)


def own():
    return (SNIPPETS / "README.md").read_text()


def excerpts_are_in_their_files():
    count = 0
    for info, block in blocks(own()) + blocks(sections()):
        language, _, name = info.partition(" ")
        if language != "yaml":
            continue
        assert name, f"a block of YAML names no file: {block[:60]!r}"
        assert contains((SNIPPETS / name).read_text(), block), f"{name} has no such lines:\n{block}"
        count += 1
    assert count >= 8, count


def every_file_is_in_the_table():
    files = {str(path.relative_to(SNIPPETS)) for path in SNIPPETS.rglob("*") if path.is_file()} - {"README.md"}
    table = set(re.findall(r"^\| `([^`]+)` \|", own(), re.M))
    same({name for name in files if not name.startswith("rls/")} | {"rls/"}, table)


def every_file_is_tried():
    tests = "".join(path.read_text() for path in HERE.glob("*.py") if path.name != "readme.py")
    for path in SNIPPETS.rglob("*.yaml"):
        assert f'"{path.name}"' in tests, f"no test runs {path.name}"


def domains(path):
    return set(re.findall(r"^ *domain: (\w+)", path.read_text(), re.M))


def rules_name_the_files_of_their_domain():
    for rules in (SNIPPETS / "rls").glob("*.yaml"):
        told = re.findall(r"[\w-]+\.yaml", rules.read_text().splitlines()[0])
        theirs = [path.name for path in SNIPPETS.glob("*.yaml") if domains(path) == domains(rules)]
        same(sorted(told), sorted(theirs), rules.name)


def every_bootstrap_is_valid():
    for path in sorted(SNIPPETS.glob("*.yaml")):
        if "static_resources" not in yaml.safe_load(next(iter(path.read_text().split("\n---\n")))):
            continue
        if "/etc/envoy/tls" in path.read_text():
            continue  # it looks for its files: tls.py
        done = subprocess.run(
            [os.environ["ENVOY_BIN"], "--mode", "validate", "-l", "warn", "-c", path], capture_output=True, text=True
        )
        same((path.name, done.returncode), (path.name, 0), done.stderr)
        told = [line for line in done.stderr.splitlines() if "eprecated" in line]
        same(told, [], f"what {path.name} uses is deprecated")


def links_lead_somewhere():
    for text, folder in ((own(), SNIPPETS), (sections(), ROOT)):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            assert target.startswith("https://") or (folder / target).exists(), target


def flags():
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", own() + sections())))


def flag_case(flag):
    def case():
        try:
            need(flag)
        except Skip:
            assert COMING.match(flag), f"quotad has no {flag}"
            raise

    case.__name__ = "quotad_has" + flag.replace("-", "_").replace("__", "_", 1)
    return case


CASES = [
    excerpts_are_in_their_files,
    every_file_is_in_the_table,
    every_file_is_tried,
    rules_name_the_files_of_their_domain,
    every_bootstrap_is_valid,
    links_lead_somewhere,
]
sys.exit(run_cases("envoy_readme", CASES + [flag_case(flag) for flag in flags()]))
