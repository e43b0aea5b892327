"""What GitHub runs: the workflows call what exists, may do little, and their scripts do what they say."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import newest
import notebooks

WORKFLOWS = sorted((notebooks.ROOT / ".github" / "workflows").glob("*.yml"))
TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def jobs(path: Path) -> dict[str, dict]:
    """Return the jobs of a workflow, by name."""
    return yaml.safe_load(path.read_text("utf8"))["jobs"]


def commands(path: Path) -> list[str]:
    """Return what the steps of a workflow type into a shell."""
    return [step["run"] for job in jobs(path).values() for step in job["steps"] if "run" in step]


@each_workflow
def test_every_target_and_script_that_is_called_exists(path):
    targets = re.findall(r"^(\S+):(?!=)", (notebooks.ROOT / "Makefile").read_text("utf8"), re.M)
    typed = "\n".join([*commands(path), (notebooks.ROOT / ".ci" / "run").read_text("utf8")])
    called = re.findall(r"\bmake (?!\.venv)([a-z]+)", typed)
    assert len(called) > 5
    assert [target for target in called if target not in targets] == []
    scripts = re.findall(r"(?:\.ci|book/_tools)/[\w.]+", typed)
    assert [script for script in scripts if not (notebooks.ROOT / script).exists()] == []
    assert [
        script for script in scripts if ".ci" in script and not os.access(notebooks.ROOT / script, os.X_OK)
    ] == []


@each_workflow
def test_jobs_may_read_and_end_and_what_may_write_is_named(path):
    assert yaml.safe_load(path.read_text("utf8"))["permissions"] == {"contents": "read"}
    writes = {
        n: [k for k, v in j.get("permissions", {}).items() if v == "write"] for n, j in jobs(path).items()
    }
    assert {n: w for n, w in writes.items() if w} in ({"publish": ["contents"]}, {"report": ["issues"]})
    assert all(job["timeout-minutes"] <= 150 for job in jobs(path).values())
    assert "secrets" not in path.read_text("utf8")
    used = [step["uses"] for job in jobs(path).values() for step in job["steps"] if "uses" in step]
    assert [action for action in used if not re.fullmatch(r"actions/[\w-]+@v\d+", action)] == []


def test_a_pull_request_publishes_nothing():
    publish = jobs(notebooks.ROOT / ".github" / "workflows" / "book.yml")["publish"]
    assert publish["if"] == "github.event_name == 'push' && github.ref == 'refs/heads/main'"
    assert publish["needs"] == "test"


@each_workflow
def test_shell_of_the_steps_is_sound(path):
    shellcheck = shutil.which("shellcheck", path=TOOLS)
    assert shellcheck, "`make lint` installs shellcheck"
    for command in commands(path):
        shown = re.sub(r"\$\{\{.*?\}\}", "x", command)
        found = subprocess.run([shellcheck, "-s", "bash", "-"], input=shown, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout


# --- the newest versions ------------------------------------------------------------------------------------


def test_newest_versions_are_those_that_the_package_allows():
    project = tomllib.loads((notebooks.ROOT / "pyproject.toml").read_text("utf8"))["project"]
    loose = newest.loosened((notebooks.ROOT / "requirements.txt").read_text("utf8"))
    lines = [line.partition("#")[0].strip() for line in loose.splitlines()]
    asked = {
        r.name: str(r.specifier) for line in lines if line and line != "-e ." for r in [Requirement(line)]
    }
    allowed = {r.name: str(r.specifier) for r in map(Requirement, project["dependencies"])}
    assert {name: asked[name] for name in allowed if name in asked} == {
        n: s for n, s in allowed.items() if n in asked
    }
    assert len(allowed.keys() & asked.keys()) >= 9
    assert all(spec.startswith("==") for name, spec in asked.items() if name not in allowed)
    assert lines[-1] == "-e ."


# --- the scripts --------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    """Run git in a folder, as nobody in particular, and return what it says."""
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """Return a checkout of a small repository on main that has the script, with an origin beside it."""
    git(tmp_path, "init", "-q", "--bare", "origin.git")
    git(tmp_path, "clone", "-q", "origin.git", "work")
    work = tmp_path / "work"
    (work / ".ci").mkdir()
    shutil.copy2(notebooks.ROOT / ".ci" / "publish", work / ".ci")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "main")
    git(work, "push", "-q", "origin", "HEAD:main")
    return work


def packed(work: Path, files: dict[str, str]) -> Path:
    """Write a site and return its zip."""
    for name, text in files.items():
        (work / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "site" / name).write_text(text)
    return Path(shutil.make_archive(str(work / "site"), "zip", work / "site"))


SITE = {"index.html": "book", ".nojekyll": "", "colab/vae/a.ipynb": "{}"}


def test_publishing_leaves_one_commit_with_the_site_on_gh_pages(checkout):
    for text in ("first", "second"):
        site = packed(checkout, SITE | {"index.html": text})
        subprocess.run([".ci/publish", site], cwd=checkout, check=True, capture_output=True)
    origin = checkout.parent / "origin.git"
    assert git(origin, "ls-tree", "-r", "--name-only", "gh-pages").splitlines() == [*sorted(SITE)]
    assert git(origin, "show", "gh-pages:index.html") == "second"
    assert git(origin, "rev-list", "--count", "gh-pages") == "1"
    assert (
        git(origin, "log", "--format=%s", "gh-pages")
        == f"The site of {git(checkout, 'rev-parse', '--short', 'HEAD')}"
    )
    assert git(origin, "rev-list", "--count", "main") == "1"
    assert git(checkout, "branch", "--show-current") != "gh-pages"


@pytest.mark.parametrize("missing", SITE)
def test_what_is_no_site_is_not_published(checkout, missing):
    site = packed(checkout, {name: text for name, text in SITE.items() if name != missing})
    done = subprocess.run([".ci/publish", site], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not the book's site" in done.stderr
    assert "gh-pages" not in git(checkout.parent / "origin.git", "branch")


@pytest.mark.parametrize(
    ("open_issue", "done"), [("", "issue create --repo"), ("7", "issue comment 7 --repo")]
)
def test_a_failure_is_told_in_one_issue(tmp_path, open_issue, done):
    gh = tmp_path / "gh"
    gh.write_text(
        f'#!/bin/sh\ncase "$2" in list) echo "{open_issue}";; *) echo "$@" >> {tmp_path}/said;; esac\n'
    )
    gh.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "GITHUB_REPOSITORY": "a/b",
        "RUN": "https://x/1",
        "VERSIONS": "torch 9",
    }
    subprocess.run([notebooks.ROOT / ".ci" / "report"], env=environment, check=True)
    said = (tmp_path / "said").read_text()
    assert said.startswith(f"{done} a/b")
    assert "(https://x/1)" in said
    assert "torch 9" in said
