#!/bin/sh
# Checks an evidence pack: sh verify.sh [KEY_ID]
# Needs openssl 3 and the usual tools. VERIFY.md says what each step means.
# KEY_ID is the id of the signing key as its owner told it to you; without it, the pack only
# proves that nothing in it was changed since whoever has the key made it.
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
zeros=0000000000000000000000000000000000000000000000000000000000000000

signed() { # statement, signature, public key
    openssl pkeyutl -verify -pubin -inkey "$3" -rawin -in "$1" -sigfile "$2" >/dev/null 2>&1 &&
        [ "$(openssl pkey -pubin -in "$3" -outform DER 2>/dev/null | hash)" = "$(value "$1" key)" ]
}

# 1 the pack as a whole
if signed pack.txt pack.txt.sig key.pem; then ok 'signature of the pack'; else no 'signature of the pack'; fi
if [ "$(hash <SHA256SUMS)" = "$(value pack.txt files)" ] && sha256sum -c --strict --quiet SHA256SUMS >/dev/null 2>&1 &&
    [ "$(find . -type f | wc -l)" -eq "$(($(wc -l <SHA256SUMS) + 3))" ]; then
    ok 'every file is as it was packed, and none was added'
else
    no 'every file is as it was packed, and none was added'
fi
call=$(value pack.txt call)

# 2 the journal: each event against its link, each link against the one before it
n=0
previous=$zeros
chain=0
set -f
while IFS= read -r line || [ -n "$line" ]; do
    n=$((n + 1))
    file=$(printf 'events/%05d' "$n")
    # shellcheck disable=SC2086
    set -- $line
    [ "$#" -eq 8 ] && [ "$1 $2 $3 $4" = "link $n $call $previous" ] || chain=1
    [ "$(hash <"$file.json")" = "${5-}" ] || chain=1
    raw=$(tail -c 67 "$file.json")
    if [ -f "$file.raw" ]; then
        [ "\"$(hash <"$file.raw")\"]" = "$raw" ] || chain=1
    fi
    previous=$(printf '%s\n' "$line" | hash)
    [ "$n" = "$(value pack.txt proved)" ] && proved=$previous
done <chain.txt
set +f
[ "$n" = "$(value pack.txt links)" ] && [ "$previous" = "$(value pack.txt last_link)" ] || chain=1
if [ "$chain" -eq 0 ]; then ok "journal: $n events in one chain"; else no 'journal: the events in one chain'; fi

# 3 the day: the call's leaf, the way to the root, the signature over the root
if [ "$(value pack.txt proved)" = 0 ]; then
    printf 'note    no day of this call was closed yet: the chain is signed by the pack alone\n'
else
    leaf=$(cat seal/leaf.txt)
    [ "$leaf" = "leaf $call ${proved-none} $(value pack.txt proved)" ] && here=$(hash <seal/leaf.txt) || here=none
    while read -r side other; do
        case $side in
        left) here=$(printf 'node %s %s\n' "$other" "$here" | hash) ;;
        right) here=$(printf 'node %s %s\n' "$here" "$other" | hash) ;;
        *) here=none ;;
        esac
    done <seal/proof.txt
    if [ "$here" = "$(value seal/statement.txt root)" ]; then
        ok "the journal is under the root of $(value seal/statement.txt day)"
    else
        no 'the journal is under the root of its day'
    fi
    if signed seal/statement.txt seal/statement.txt.sig seal/key.pem; then ok 'signature of the day'; else no 'signature of the day'; fi
fi

# 4 the recordings: each file against the event that says what it was
while read -r digest file event what; do
    if [ ! -f "audio/$file" ]; then
        printf 'note    audio/%s is not in this pack: put it there to check it\n' "$file"
    elif [ "$(hash <"audio/$file")" = "$digest" ] && grep -q "\"$what\":\"$digest\"" "events/$event.json"; then
        ok "audio/$file"
    else
        no "audio/$file"
    fi
done <audio.txt

# 5 whose key it is
for statement in pack.txt seal/statement.txt; do
    [ -f "$statement" ] || continue
    if [ -z "$KEY_ID" ]; then
        printf 'note    %s was signed by %s: ask its owner whether that is the key\n' "$statement" "$(value "$statement" key)"
    elif [ "$(value "$statement" key)" = "$KEY_ID" ]; then
        ok "$statement is signed by the key that you named"
    else
        no "$statement is signed by the key that you named"
    fi
done

if [ "$bad" -eq 0 ]; then printf 'GOOD\n'; else printf 'BAD\n'; fi
exit "$bad"
