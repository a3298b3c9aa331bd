"""Runs the public WASI test suite against `wharf`: the suite's runner loads this file as its adapter.

The program is `wharf` on the PATH, or the one that the environment variable WHARF names.
"""

import atexit
import os
import shlex
import shutil
import subprocess
import tempfile
from typing import Dict, List, Optional, Tuple

WHARF = shlex.split(os.getenv("WHARF", "wharf"))


def get_name() -> str:
    return "wharf"


def get_version() -> str:
    result = subprocess.run(WHARF + ["--version"], encoding="UTF-8", capture_output=True, check=True)
    return result.stdout.split()[1]


def get_wasi_versions() -> List[str]:
    return ["wasm32-wasip1", "wasm32-wasip3"]


def get_wasi_worlds() -> List[str]:
    return ["wasi:cli/command", "wasi:http/service"]


def get_timeout_seconds() -> float:
    # The first run of a test compiles it, and a test machine may be busy.
    return 30.0


def _copy(root: str) -> str:
    """Copies a test's folder, because the runner does not remove the symbolic links that a test creates."""
    folder = tempfile.mkdtemp(prefix="wasi-testsuite-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    left_behind = shutil.ignore_patterns("*.cleanup")
    return shutil.copytree(root, os.path.join(folder, os.path.basename(root)), symlinks=True, ignore=left_behind)


def compute_argv(test_path: str,
                 args_env_root: Tuple[List[str], Dict[str, str], Optional[str]],
                 proposals: List[str],
                 wasi_world: str,
                 wasi_version: str) -> List[str]:
    args, env, root = args_env_root
    serves = wasi_world == "wasi:http/service"
    argv = WHARF + (["serve", "--listen", "127.0.0.1:0"] if serves else ["run"])
    for key, value in env.items():
        argv += ["--env", f"{key}={value}"]
    if root:
        argv += ["--dir", f"{_copy(root)}::/"]
    if "http" in proposals or "sockets" in proposals:
        argv += ["--inherit-network"]
    return argv + [test_path] + args
