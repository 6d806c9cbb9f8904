#!/usr/bin/env bash
# Makes sure that there is a Chromium for the console's tests: Debian's, installed when we may.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
    command -v chromium >/dev/null && exit 0
fi
echo "ocp-ingest: the console's tests drive Chromium. Run: sudo apt-get install chromium" >&2
exit 1
