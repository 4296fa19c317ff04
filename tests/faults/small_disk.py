"""A disk of a few MB that can be filled."""

import subprocess
from pathlib import Path
from typing import Final

FILLER: Final = "filler"


class SmallDisk:
    """A tmpfs on a folder; for root alone, who may mount it."""

    def __init__(self, folder: Path, mebibytes: int):
        self._folder = folder
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], check=True)

    def fill(self) -> None:
        """Leaves not a byte."""
        with open(self._folder / FILLER, "ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Gives back what `fill` took."""
        (self._folder / FILLER).unlink()

    def close(self) -> None:
        """Unmounts it."""
        subprocess.run(["umount", "--lazy", str(self._folder)], check=True)
