"""Makes ``stored.tar.xz`` of a results folder, in which the shipped suites were run in the profile smoke.

    python tests/snapshot/store.py RESULTS

Keeps what tables are made of, which is records and arrays over items. Of all other files that belong to a result only
an empty one is kept, with its digest, so that nothing is missing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from bench.store import ITEMS, Store
from bench.store.checked import DIGEST, own_digest
from bench.store.folder import RECORD


def main() -> None:
    source = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        results = Path(temporary) / "results"
        for folder in Store(source / "store").folders():
            target = results / "store" / folder.path.relative_to(source / "store")
            target.mkdir(parents=True)
            record = folder.record_json()
            assert record is not None, folder.path
            for name in record["artefacts"]:
                if name == ITEMS:
                    shutil.copy(folder.file(name), target / name)
                else:
                    (target / name).touch()
                    record["artefacts"][name] = hashlib.sha256(b"").hexdigest()
            record[DIGEST] = own_digest(record)
            (target / RECORD).write_text(json.dumps(record), encoding="utf-8")
        with tarfile.open(Path(__file__).parent / "stored.tar.xz", "w:xz") as archive:
            for path in sorted(results.rglob("*")):
                entry = archive.gettarinfo(str(path), str(path.relative_to(temporary)))
                entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
                if entry.isfile():
                    with path.open("rb") as file:
                        archive.addfile(entry, file)
                else:
                    archive.addfile(entry)


if __name__ == "__main__":
    main()
