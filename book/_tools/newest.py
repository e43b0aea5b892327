"""Print requirements.txt with the newest versions that pyproject.toml allows, in place of its pins.

python book/_tools/newest.py            the requirements
python book/_tools/newest.py --names    only the names of the packages that move
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"[\w.-]+")


def ranges() -> dict[str, str]:
    """Return what the package allows of each of its requirements, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    return {NAME.match(line)[0].lower(): line for line in project["dependencies"]}  # type: ignore[index]


def loosened(requirements: str) -> str:
    """Return requirements with the range of each package that has one."""
    allowed = ranges()
    return re.sub(r"^([\w.-]+)==\S+", lambda m: allowed.get(m[1].lower(), m[0]), requirements, flags=re.M)


if __name__ == "__main__":
    text = loosened((ROOT / "requirements.txt").read_text("utf8"))
    print("\n".join(ranges()) if "--names" in sys.argv[1:] else text, end="")
