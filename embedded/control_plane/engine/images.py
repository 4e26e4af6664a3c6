"""Images are not run here: this environment's Python is. What a task, and its failure, must say of that. Pure."""

import re
import sys

DEED_OF_CLUSTER = "argostub/"
"""kfp-kubernetes marks what the cluster itself does by the image of the task."""
_PYTHON = re.compile(r"(?:docker\.io/)?(?:library/)?python:(\d+\.\d+)(?:[.\-@][^/]*)?")
_SYMPTOMS = re.compile(
    r"exit code 12[67]\b|not found|No module named|can't open file|No such file or directory|SyntaxError|ImportError"
    r"|cannot import name|command not found|has no attribute|kfp_config\.ini"
    r"|Illegal option|[Bb]ad substitution|[Ss]yntax error|unexpected operator|(?:unrecognized|invalid) option",
)
"""How a command fails that counts on a shell, a program, a file, a package or a Python of the image."""
_OURS = f"{sys.version_info.major}.{sys.version_info.minor}"


def image_note(image: str, *, ours: str = _OURS) -> str:
    """One sentence when the image is not this environment's plain Python; "" otherwise. ours: its version (3.11)."""
    match = _PYTHON.fullmatch(image)
    if not image or image.startswith(DEED_OF_CLUSTER) or (match and match[1] == ours):
        return ""
    return f"image {image} is not used here: the command runs on this machine, with Python {ours} and its packages"


def with_image(message: str, note: str) -> str:
    """The failure of a task, with the note when it may follow from the image's absence."""
    return f"{message} ({note})" if note and _SYMPTOMS.search(message) else message
