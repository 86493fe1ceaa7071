"""What a Hugging Face Job starts: fetch the pipeline that was pushed for it, make sure it is the right one, run it.

This file travels alone: it is pushed beside the archive, and `uv run` fetches it from the user's private repository. So it uses
huggingface_hub and the standard library and nothing of this project; the work itself is pipeline.hub.job_work, out of the archive.
The user's token comes in the environment, as a secret of the Job, and is never printed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

PACKAGE = "pipeline.zip"
WORK = "pipeline.hub.job_work"


def main(argv: Sequence[str] | None = None) -> None:
    """Does not return: the process becomes the work, in the folder of the unpacked archive. Leaves through SystemExit when it cannot."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repo", required=True)
    parser.add_argument("--revision", required=True)
    parser.add_argument("--package", required=True, metavar="SHA256")
    args, _ = parser.parse_known_args(argv)
    token = os.environ.get("HF_TOKEN")
    if not token:
        sys.exit("error: The Job got no token; start it with the user's token as the secret HF_TOKEN.")
    from huggingface_hub import hf_hub_download

    archive = Path(hf_hub_download(args.repo, PACKAGE, revision=args.revision, token=token))
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != args.package:
        sys.exit(f"error: {PACKAGE} of {args.repo} has the SHA-256 {found}, not {args.package}; start the Job again.")
    folder = tempfile.mkdtemp(prefix="studio-")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    os.chdir(folder)
    given = sys.argv[1:] if argv is None else list(argv)
    os.execv(sys.executable, [sys.executable, "-m", WORK, *given])


if __name__ == "__main__":
    main()
