#!/usr/bin/env python3
"""From a saved file to a new answer of `wharf dev`: FOLDER BASE TEXT PATH [WHARF].

FOLDER has a manifest whose component is built from `src.wasm`, BASE is a component in it whose answer at PATH contains TEXT in its headers or body, which is replaced by
another text of the same length each time."""

import os, subprocess, sys, tempfile, time, urllib.request

folder, base, text, path, *wharf = sys.argv[1:]
wharf = wharf[0] if wharf else "wharf"
address = "127.0.0.1:8399"
code = open(os.path.join(folder, base), "rb").read()
assert text.encode() in code, "the component does not contain the text"


def answer():
    try:
        response = urllib.request.urlopen(f"http://{address}{path}", timeout=60)
        return str(response.headers) + response.read().decode()
    except OSError:
        return None


with tempfile.TemporaryDirectory() as cache:
    environment = dict(os.environ, XDG_CACHE_HOME=cache)
    server = subprocess.Popen([wharf, "dev", folder, "--listen", address], stderr=subprocess.DEVNULL, env=environment)
    begun = time.time()
    while answer() is None:
        time.sleep(0.02)
    print(f"first answer after {time.time() - begun:.2f} s", flush=True)
    time.sleep(2)  # The code of its functions is kept in the background.
    for change in range(7):
        new = str(os.getpid() * 10 + change)[-len(text):].rjust(len(text), "x")
        with open(os.path.join(folder, "src.new"), "wb") as file:
            file.write(code.replace(text.encode(), new.encode()))
        begun = time.time()
        os.rename(os.path.join(folder, "src.new"), os.path.join(folder, "src.wasm"))
        while new not in (answer() or ""):
            time.sleep(0.002)
        print(f"{(time.time() - begun) * 1000:.0f} ms", flush=True)
        time.sleep(1)
    server.terminate()
    server.wait()
