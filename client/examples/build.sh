#!/bin/sh
# Builds the examples' needs into a folder; writes nothing here.
#   sh client/examples/build.sh python FOLDER    FOLDER/venv (aiohttp, grpcio) and FOLDER/generated (the API's messages)
#   sh client/examples/build.sh litellm FOLDER   FOLDER/litellm, a venv with LiteLLM, some hundred MB; `python` comes first
#   sh client/examples/build.sh go FOLDER        FOLDER/proxy, by way of FOLDER/go; needs go and protoc
set -eu
kind=${1:-} folder=${2:-}
if [ -z "$folder" ]; then
    sed -n '2,5s/^# //p' "$0"
    exit 1
fi
mkdir -p "$folder"
folder=$(cd "$folder" && pwd) # of where it was called
cd "$(dirname "$0")"
here=$PWD
api='quota/v1/quota.proto quota/v1/types.proto'

# venv NAME REQUIREMENTS: made anew only when the requirements have changed.
venv() {
    cmp -s "$2" "$folder/$1/requirements.txt" && return
    rm -rf "${folder:?}/$1"
    python3 -m venv "$folder/$1"
    "$folder/$1/bin/pip" install --quiet --disable-pip-version-check --no-compile -r "$2"
    cp "$2" "$folder/$1/requirements.txt"
}

build_python() {
    venv venv "$here/python/requirements.txt"
    mkdir -p "$folder/generated"
    # shellcheck disable=SC2086 # a list of files
    "$folder/venv/bin/python" -m grpc_tools.protoc -I "$here/../../proto" \
        --python_out="$folder/generated" --grpc_python_out="$folder/generated" $api
}

build_go() {
    mkdir -p "$folder/go/quotapb" "$folder/go/bin"
    cp "$here"/go/*.go "$here/go/go.mod" "$here/go/go.sum" "$folder/go/"
    cd "$folder/go"
    go build -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
    package='example.com/proxy/quotapb'
    mapped="module=example.com/proxy,Mquota/v1/quota.proto=$package,Mquota/v1/types.proto=$package"
    # shellcheck disable=SC2086 # a list of files
    PATH=$folder/go/bin:$PATH protoc -I "$here/../../proto" --go_out=. --go_opt="$mapped" \
        --go-grpc_out=. --go-grpc_opt="$mapped" $api
    go build -o "$folder/proxy" .
}

case $kind in
python) build_python ;;
litellm) venv litellm "$here/python/requirements-litellm.txt" ;;
go) build_go ;;
*)
    echo "build.sh: unknown example $kind; accepted: python, litellm, go" >&2
    exit 1
    ;;
esac
