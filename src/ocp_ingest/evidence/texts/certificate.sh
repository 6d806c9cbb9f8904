#!/bin/sh
# Checks a certificate of completeness: sh verify.sh [KEY_ID]
# Needs openssl 3 and the usual tools. VERIFY.md says what each step means.
set -u
KEY_ID=${1-}
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")" || exit 1
bad=0
ok() { printf 'ok      %s\n' "$1"; }
no() { printf 'FAILED  %s\n' "$1"; bad=1; }
hash() { sha256sum | cut -c 1-64; }
value() { sed -n "s/^$2 //p" "$1" | tr -cd '[:print:]\n'; }

signed() { # statement, signature, public key
    openssl pkeyutl -verify -pubin -inkey "$3" -rawin -in "$1" -sigfile "$2" >/dev/null 2>&1 &&
        [ "$(openssl pkey -pubin -in "$3" -outform DER 2>/dev/null | hash)" = "$(value "$1" key)" ]
}

if signed certificate.txt certificate.txt.sig key.pem; then ok 'signature of the certificate'; else no 'signature of the certificate'; fi
if [ "$(hash <SHA256SUMS)" = "$(value certificate.txt files)" ] && sha256sum -c --strict --quiet SHA256SUMS >/dev/null 2>&1 &&
    [ "$(find . -type f | wc -l)" -eq "$(($(wc -l <SHA256SUMS) + 3))" ]; then
    ok 'every file is as it was certified, and none was added'
else
    no 'every file is as it was certified, and none was added'
fi
if [ "$(cat leaves-*.txt 2>/dev/null | wc -l)" -eq "$(value certificate.txt started)" ] &&
    [ "$(cat exceptions-*.ndjson 2>/dev/null | wc -l)" -eq "$(($(value certificate.txt started) - $(value certificate.txt stored)))" ]; then
    ok 'every call is named, and every one that is not stored has its reason'
else
    no 'every call is named, and every one that is not stored has its reason'
fi
if [ -f seal/statement.txt ]; then
    if signed seal/statement.txt seal/statement.txt.sig seal/key.pem; then ok 'signature of the day'; else no 'signature of the day'; fi
fi
if [ -z "$KEY_ID" ]; then
    printf 'note    signed by %s: ask its owner whether that is the key\n' "$(value certificate.txt key)"
elif [ "$(value certificate.txt key)" = "$KEY_ID" ]; then
    ok 'signed by the key that you named'
else
    no 'signed by the key that you named'
fi
if [ "$bad" -eq 0 ]; then printf 'GOOD\n'; else printf 'BAD\n'; fi
exit "$bad"
