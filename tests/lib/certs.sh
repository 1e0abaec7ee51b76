#!/bin/sh
# Certificates for tests with ports that speak TLS, by the openssl CLI.
#   sh tests/lib/certs.sh DIR
# NAME.pem and NAME.key of two authorities, `ca` and `other`; of nodes that ca vouches for: `node`, `renewed`, and two that
# clients must refuse, `elsewhere` (of another name) and `old` (expired); of clients: `client`, `expired`, and `stranger`
# (of the other authority). node and client are good; served.* begins as a copy of node.*: what a node is given.
set -eu
cd "$1"

# Elliptic curves: made in no time. The key is its owner's only: quotad refuses others (X7).
new_key() {
    (umask 077 && openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key")
}

authority() { # NAME
    new_key "$1"
    openssl req -x509 -new -key "$1.key" -subj "/CN=test $1" -addext basicConstraints=critical,CA:TRUE -days 2 -out "$1.pem"
}

issue() { # NAME AUTHORITY NAMES [DAYS]
    new_key "$1"
    printf 'subjectAltName=%s\n' "$3" >"$1.ext"
    openssl req -new -key "$1.key" -subj "/CN=test $1" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days "${4:-2}" -extfile "$1.ext" -out "$1.pem"
}

here=IP:127.0.0.1,DNS:localhost
authority ca
authority other
issue node ca $here
issue renewed ca $here
issue elsewhere ca DNS:elsewhere.example
issue old ca $here -1
issue client ca DNS:gateway.example
issue expired ca DNS:gateway.example -1
issue stranger other DNS:gateway.example
cp node.pem served.pem
cp -p node.key served.key
