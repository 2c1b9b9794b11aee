"""Gives the results in ``stored.tar.xz`` the keys of today, where a change of declarations gave a job another key.

    python tests/snapshot/rekey.py

For changes that change no number, such as a new parameter with the former behaviour as its default: the stored results
are then what the job of the new key would give. ``plans.json`` still has the former keys, so this runs before
``python tests/test_snapshot.py``, which writes the expectations again.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from bench.store.folder import DIGEST, RECORD, _own_digest

sys.path.insert(0, str(Path(__file__).parents[1]))  # this folder is there already
from store import STORED, pack
from test_snapshot import FOLDER, RENDERED, bench_in, title


def main() -> None:
    former = json.loads((FOLDER / "plans.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        with tarfile.open(STORED) as archive:
            archive.extractall(root, filter="data")
        bench = bench_in(root)
        for suite in RENDERED:
            keys = former[title(suite, "smoke")]
            for job in bench.plan(suite, profile="smoke").jobs:
                old = keys.get(job.id, [job.key])[0]
                source, target = bench.store.folder(old), bench.store.folder(job.key)
                if old == job.key or not source.path.exists():
                    continue
                target.path.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(source.path, target.path)
                record = json.loads((target.path / RECORD).read_text(encoding="utf-8"))
                record["key"] = job.key
                record[DIGEST] = _own_digest(record)
                (target.path / RECORD).write_text(json.dumps(record), encoding="utf-8")
                print(f"{title(suite, 'smoke')}: {job.id}: {old[:8]} is now {job.key[:8]}")
        pack(root)


if __name__ == "__main__":
    main()
