"""Give the book the address of another repository, as a fork needs it.

    python book/_tools/address.py owner/name

The address stands in _config.yml; sync_setup.py copies it from there to the notebooks and pages.
"""

import re
import sys

import notebooks
import sync_setup

CONFIG = notebooks.ROOT / "_config.yml"
NAME = re.compile(r"[A-Za-z\d](?:[A-Za-z\d-]{0,38})/(?!\.{1,2}$)[\w.-]{1,100}", re.A)
ADDRESS = re.compile(r"^(repository:\n  url: )https://github\.com/\S+$", re.M)


def main() -> int:
    """Write the address that was given, and copy it; explain a name that cannot be one."""
    name = " ".join(sys.argv[1:])
    if not NAME.fullmatch(name):
        print(
            f"A repository's name is its owner's, a slash and its own, as in ada/vae-book; “{name}” is not."
        )
        return 1
    text, found = ADDRESS.subn(rf"\1https://github.com/{name}", CONFIG.read_text("utf8"))
    assert found == 1, (
        "_config.yml begins a line with `repository:`, the next with `  url: https://github.com/`"
    )
    notebooks.write(CONFIG, text)
    return sync_setup.main()


if __name__ == "__main__":
    sys.exit(main())
