"""One engine and one image for all tests that want them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.cluster import engine as engines
from tests.cluster.engine import PLANTED, Engine, streamgauge


class ByServers(LoadScopeScheduling):
    """Two files run side by side, each with servers of its own; those that run containers share one image."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "containers" if file.endswith(("test_compose.py", "test_image.py")) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByServers:
    return ByServers(config, log)


@pytest.fixture(scope="session")
def on() -> Iterator[Engine]:
    try:
        with engines.engine() as found:
            yield found
    except engines.NoEngine as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must run the image: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def base(on: Engine) -> str:
    return engines.base_image(on)


@pytest.fixture(scope="session")
def image(on: Engine, base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, built on a machine whose pip and environment hold secrets."""
    settings = tmp_path_factory.mktemp("pip") / "pip.conf"
    present = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    kept = [
        line.removeprefix("global.").replace("'", "") for line in present.stdout.splitlines() if line[:7] == "global."
    ]
    settings.write_text("\n".join(["[global]", *kept, f"user-agent-user-data = {PLANTED}", ""]))
    netrc = settings.with_name("netrc")
    netrc.write_text(f"machine packages.invalid login {PLANTED} password {PLANTED}\n")
    secrets = {"PIP_CONFIG_FILE": str(settings), "NETRC": str(netrc), "PACKAGES_PASSWORD": PLANTED}
    ran = streamgauge(on, "image", "build", "--base", base, **secrets)
    assert ran.returncode == 0, ran.stderr
    print(ran.stdout, f"on {on.how}")
    names = re.findall(r"^  (\S+)$", ran.stdout, re.MULTILINE)
    assert len(names) == 2, ran.stdout
    return names[0]
