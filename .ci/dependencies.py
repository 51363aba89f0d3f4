#!/usr/bin/env python3
"""Renews the list of direct dependencies in docs/SECURITY.md, or checks that it is fresh.

  .ci/dependencies.py write | check

What is listed comes from Cargo.lock, from the crates' own manifests (`cargo metadata`) and from cargo's copy of the registry's
index, which says when a version was published. `cargo update --dry-run` renews that copy. The owner is the one of the repository:
who may publish a crate is told by crates.io's API only.
"""

import json
import pathlib
import re
import subprocess
import sys
from urllib.parse import urlparse

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/SECURITY.md"
BEGIN, END = "<!-- dependencies -->\n", "<!-- end of dependencies -->\n"


def metadata():
    # Crates for other systems may not be here.
    version = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    host = re.search(r"^host: (.*)$", version, re.MULTILINE)[1]
    command = ["cargo", "metadata", "--offline", "--locked", "--filter-platform", host, "--format-version", "1"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def index_entries(name, registry):
    """What the index says of a crate, one entry for each version."""
    folder = {1: "1", 2: "2", 3: f"3/{name[:1]}"}.get(len(name), f"{name[:2]}/{name[2:4]}")
    cached = (registry / ".cache" / folder / name).read_bytes()
    # A header, and then pairs of a version and its entry in JSON, each closed by a zero.
    return [json.loads(part) for part in cached.split(b"\0") if part.startswith(b"{")]


def latest(entries):
    """The last release that is no preview and was not withdrawn."""
    good = [entry for entry in entries if not entry["yanked"] and re.fullmatch(r"\d+\.\d+\.\d+(\+.*)?", entry["vers"])]
    return max(good, key=lambda entry: tuple(int(part) for part in entry["vers"].split("+")[0].split(".")))


def lines(found):
    packages = {package["id"]: package for package in found["packages"]}
    root = found["resolve"]["root"]
    node = next(node for node in found["resolve"]["nodes"] if node["id"] == root)
    home = pathlib.Path(packages[node["deps"][0]["pkg"]]["manifest_path"]).parents[3]
    registry = next((home / "index").glob("index.crates.io-*"))
    yield "| crate | version, published | last release, published | owner | for |"
    yield "| --- | --- | --- | --- | --- |"
    for dependency in sorted(node["deps"], key=lambda one: packages[one["pkg"]]["name"]):
        package = packages[dependency["pkg"]]
        kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
        entries = index_entries(package["name"], registry)
        here = next(entry for entry in entries if entry["vers"] == package["version"])
        last = latest(entries)
        published = lambda entry: f"{entry['vers']}, {entry.get('pubtime', 'not known')[:10]}"
        place = urlparse(package["repository"] or "")
        owner = f"{place.netloc}/{place.path.strip('/').split('/')[0]}" if place.netloc else "not named"
        use = "the program" if None in kinds else "tests"
        yield f"| `{package['name']}` | {published(here)} | {published(last)} | {owner} | {use} |"


def main():
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    fresh = before + BEGIN + "\n".join(lines(metadata())) + "\n" + END + after
    if sys.argv[1:] == ["write"]:
        PAGE.write_text(fresh)
    elif sys.argv[1:] != ["check"]:
        sys.exit(__doc__)
    elif page != fresh:
        sys.exit("docs/SECURITY.md does not list the dependencies as they are: run .ci/dependencies.py write")


main()
