"""Unpacks the tests of a source distribution of Celery: `unpack.py ARCHIVE FOLDER`. The package itself stays behind, since Python
would import it instead of the installed one."""

import pathlib
import shutil
import sys
import tarfile

archive, folder = map(pathlib.Path, sys.argv[1:])
shutil.rmtree(folder, ignore_errors=True)
with tarfile.open(archive) as packed:
    for member in packed.getmembers():
        member.name = member.name.partition("/")[2]
        if member.name == "pyproject.toml" or member.name.startswith("t/"):
            packed.extract(member, folder, filter="data")
