"""How much memory there is, read from made-up trees of control groups."""

from __future__ import annotations

import pytest

from epp.config.memory import memory_limit_bytes

GIB = 2**30
MEMINFO = "MemTotal:       16777216 kB\nMemFree:         1048576 kB\n"


@pytest.fixture
def tree(tmp_path):
    """Writes files below a root, and gives the root."""

    def write(files: dict[str, str]):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        pytest.param({}, None, id="nothing to be found out"),
        pytest.param({"proc/meminfo": MEMINFO}, 16 * GIB, id="no control groups"),
        pytest.param(
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{2 * GIB}\n",
            },
            2 * GIB,
            id="v2, in a container",
        ),
        pytest.param(
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/user.slice/epp.service\n",
                "sys/fs/cgroup/user.slice/memory.max": f"{3 * GIB}\n",
                "sys/fs/cgroup/user.slice/epp.service/memory.max": "max\n",
            },
            3 * GIB,
            id="v2, the group around it is limited",
        ),
        pytest.param(
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": f"{3 * GIB}\n",
                "sys/fs/cgroup/a/b/memory.max": f"{5 * GIB}\n",
            },
            3 * GIB,
            id="v2, the smallest of all",
        ),
        pytest.param(
            {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"},
            16 * GIB,
            id="v2, without a limit",
        ),
        pytest.param(
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{64 * GIB}\n",
            },
            16 * GIB,
            id="v2, more than the machine has",
        ),
        pytest.param(
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n",
                "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": f"{GIB}\n",
            },
            GIB,
            id="v1",
        ),
        pytest.param(
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "4:memory:/docker/abc\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n",
            },
            GIB,
            id="v1, the path is the host's",
        ),
        pytest.param(
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "4:memory:/\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            16 * GIB,
            id="v1, its number for no limit",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            None,
            id="v1, no limit and no word of the machine",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/unified/memory.max": f"{GIB}\n",
            },
            GIB,
            id="both versions",
        ),
        pytest.param(
            {
                "proc/meminfo": "MemTotal: lots\n",
                "proc/self/cgroup": "nonsense\n0::/\n",
                "sys/fs/cgroup/memory.max": "0\n",
            },
            None,
            id="nonsense",
        ),
        pytest.param(
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/../../etc\n",
                "etc/memory.max": "1\n",
            },
            16 * GIB,
            id="a path never leads out of the mount",
        ),
    ],
)
def test_the_smallest_limit_counts(tree, files, limit):
    """Own group, groups around it and the machine: the smallest limit of either version, and nonsense is none."""
    assert memory_limit_bytes(tree(files)) == limit


def test_this_machine_has_some():
    """On the machine that the tests run on there is a number, and not a silly one."""
    limit = memory_limit_bytes()
    assert limit is not None
    assert limit > 2**24
