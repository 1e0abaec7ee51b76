# @grpc/grpc-js at the port of the node that is up: client.js, refused.js, reload.js. run.sh sources it.
# shellcheck shell=sh disable=SC2154 # node.sh and run.sh set these

# False, with a case that says why, when there is no node or npm installs nothing.
prepare_js() {
    if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
        sh deploy/packages.sh --interop || {
            say "not ok js_node_is_installed"
            return 1
        }
    fi
    if cmp -s tests/interop/package.json "$place/package.json" && [ -d "$place/node_modules" ]; then
        return 0
    fi
    cp tests/interop/package.json "$place/package.json"
    if ! (cd "$place" && npm install --no-package-lock --no-audit --no-fund --ignore-scripts) >"$T/npm" 2>&1; then
        rm -f "$place/package.json"
        fails js_npm_install "$T/npm"
        return 1
    fi
}

# run_js PROGRAM ARGUMENT...: its cases, all of them.
run_js() {
    program=$1
    shift
    js_code=0
    # It warns that an address is no name of TLS.
    NODE_PATH=$place/node_modules node --no-deprecation "tests/interop/$program.js" "$kind" "$grpc" "$@" \
        >"$T/js" 2>&1 || js_code=$?
    tee -a "$cases" <"$T/js"
    # A client that dies midway has a short list, and none of it need be bad.
    planned=$(sed -n 's/^1\.\.\([0-9][0-9]*\)$/\1/p' "$T/js")
    ran=$(grep -cE '^(not )?ok js_' "$T/js")
    if [ "${planned:-0}" -lt 1 ] || [ "$ran" -ne "$planned" ]; then
        say "not ok js_${kind}_${program}_runs_all_its_cases ($ran of ${planned:-none planned}; exit $js_code)"
    elif [ "$js_code" -ne 0 ] && ! grep -q '^not ok js_' "$T/js"; then
        say "not ok js_${kind}_${program}_exits_0 (exit $js_code)"
    fi
}
