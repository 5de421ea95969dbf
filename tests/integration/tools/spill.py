"""Tells the secrets SECRET and KEY in as many ways as tools do, and fails."""

import base64
import html
import json
import os
import shlex
import subprocess
import sys
import time
import urllib.parse

secret, key = os.environb[b"SECRET"], os.environb[b"KEY"]
text = secret.decode()
ways = [
    secret,
    key,
    b"\n".join(b"    " + line for line in key.splitlines()),
    base64.b64encode(secret),
    base64.b64encode(key),
    base64.urlsafe_b64encode(b"user:" + secret),
    base64.b64encode(b"me:" + secret + b"\n").rstrip(b"="),
    base64.encodebytes(key),
    base64.encodebytes(b"a line before\n" + key + b"and behind\n"),
    urllib.parse.quote(text).encode(),
    urllib.parse.quote(text, safe="").encode(),
    urllib.parse.quote(text, safe="").lower().encode(),
    urllib.parse.quote_plus(text).encode(),
    json.dumps({"token": text, "key": key.decode()}).encode(),
    json.dumps(text, ensure_ascii=False).encode(),
    shlex.quote(text).encode(),
    html.escape(text).encode(),
    b"\xff\xfe" + secret + b"\x00" + secret,
    subprocess.run(["bash", "-c", 'printf %q "$SECRET"; declare -p SECRET'], stdout=subprocess.PIPE).stdout,
    subprocess.run(["bash", "-c", "set -x; : \"$SECRET\""], stderr=subprocess.PIPE).stderr,
    subprocess.run(["base64"], input=key, stdout=subprocess.PIPE).stdout,
]
for stream in 1, 2:
    for way in ways:
        os.write(stream, b"here: " + way + b" :there\n")
    # In two writes, in single bytes, and in two writes of what is wrapped.
    for way in secret, key, base64.b64encode(key), base64.encodebytes(key):
        os.write(stream, way[: len(way) // 2])
        time.sleep(0.02)
        os.write(stream, way[len(way) // 2 :] + b"\n")
    for byte in secret:
        os.write(stream, bytes([byte]))
    os.write(stream, b"\n")

with open("made", "wb") as made:
    made.write(b"what tools write is theirs: " + secret)
# What is left running is named with its command line, cut where it is long.
for argument in secret, b"x" * 170 + secret:
    subprocess.Popen(["sh", "-c", "sleep 600; :", argument])
sys.exit(3)
