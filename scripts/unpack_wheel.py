"""unpack_wheel.py WHEEL DIR FOLDER...: unpacks those folders of a wheel, or of the tar.gz that it wraps."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import zipfile

wheel, dest, folders = sys.argv[1], sys.argv[2], tuple(sys.argv[3:])
with zipfile.ZipFile(wheel) as z:
    wanted = [i for i in z.infolist() if i.filename.startswith(folders) and not i.is_dir()]
    tars = [i for i in wanted if i.filename.endswith(".tar.gz")]
    if tars:
        with tarfile.open(fileobj=io.BytesIO(z.read(tars[0]))) as t:
            for m in t.getmembers():
                # Drop the archive's top folder, and the build machine's users.
                m.name = m.name.partition("/")[2]
                if m.islnk():
                    m.linkname = m.linkname.partition("/")[2]
                if m.name and ".." not in m.name.split("/"):
                    m.uid, m.gid = os.getuid(), os.getgid()
                    m.uname = m.gname = ""
                    t.extract(m, dest)
    for i in wanted if not tars else ():
        out = os.path.join(dest, i.filename)
        os.makedirs(os.path.dirname(out), exist_ok=True)
        if (i.external_attr >> 16) & 0o170000 == 0o120000:
            os.symlink(z.read(i).decode(), out)
            continue
        with open(out, "wb") as f:
            f.write(z.read(i))
        # Wheels do not keep the executable bit reliably.
        if "/bin/" in out or ".so" in out or out.endswith(("/pg_regress", "/isolationtester", "/pg_isolation_regress")):
            os.chmod(out, 0o755)
