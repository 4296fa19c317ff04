"""What must not be in an image: a look at every file of every layer, also of those that a later layer hides."""

import json
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from typing import IO, Final

from tests.cluster.engine import Engine

_PLACES: Final = re.compile(
    r"(^|/)(\.cache|\.pip|\.netrc|\.npmrc|\.aws|\.docker|\.git|\.ssh|__pip_cache__)(/|$)"
    r"|(^|/)pip\.conf$|(^|/)build/|(^|/)root/\.|\.whl$|(^|/)id_(rsa|ed25519)$|\.egg-link$"
)
_KEY: Final = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{100,}-----END")
_ROOT_FILES: Final = {"root/.bashrc", "root/.profile"}  # Debian's own


def findings(on: Engine, image: str, secrets: Iterable[bytes]) -> Iterator[str]:
    """A sentence for each file that lies where it should not, or holds a key or one of the secrets."""
    wanted = list(secrets)
    layers = 0
    with subprocess.Popen(["docker", "save", image], env=on.environment, stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        with tarfile.open(fileobj=saving.stdout, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is None:
                    continue
                if member.name.endswith("layer.tar") or member.name.startswith("blobs/"):
                    layers += 1
                    yield from _layer(content, wanted)
                else:
                    yield from _text(member.name, content.read(), wanted)
    if saving.returncode or not layers:
        raise AssertionError(f"docker save {image} failed")


def _layer(content: IO[bytes], secrets: list[bytes]) -> Iterator[str]:
    try:
        layer = tarfile.open(fileobj=content, mode="r|")  # noqa: SIM115  # closed with what it reads
    except tarfile.ReadError:  # the image's settings, among the blobs
        return
    for member in layer:
        name = member.name.removeprefix("./")
        if _PLACES.search(name) and name not in _ROOT_FILES and "/opt/venv" not in f"/{name}":
            yield f"{name} lies in a layer"
        found = layer.extractfile(member) if member.isreg() else None
        if found is not None:
            yield from _text(name, found.read(), secrets)


def _text(name: str, content: bytes, secrets: list[bytes]) -> Iterator[str]:
    for index, secret in enumerate(secrets):
        if secret in content:
            yield f"{name} holds secret {index}"
    # Published packages carry the keys of their own self-tests (librdkafka does), which are not secret.
    if "site-packages/" not in name and _KEY.search(content):
        yield f"{name} holds a private key"


def history(on: Engine, image: str) -> str:
    """How every layer was made, with the values of its arguments."""
    return json.dumps(on.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).splitlines())
